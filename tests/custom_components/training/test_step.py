"""The training step: micro-batches, mixed precision, clipping, random streams."""

import copy
from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.training.step import ImageBatch, SegmentationBatch, TrainingStep
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn


def build_network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2)).to(dtype)


def data(size: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(size)
    return {
        "image": torch.randn(size, 4, generator=draw, dtype=dtype),
        "label": torch.randn(size, 2, generator=draw, dtype=dtype),
    }


def build_trainer(network: nn.Module, step: Any, batches: list, **changes: Any) -> SupervisedTrainer:
    arguments = {
        "device": torch.device("cpu"),
        "max_epochs": 1,
        "train_data_loader": batches,
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.1),
        "loss_function": nn.MSELoss(),
        "iteration_update": step,
        "decollate": False,
    }
    return SupervisedTrainer(**{**arguments, **changes})


def train(step: Any, batches: list, network: nn.Module | None = None, **changes: Any) -> tuple[dict, SupervisedTrainer]:
    network = build_network() if network is None else network
    trainer = build_trainer(network, step, batches, **changes)
    trainer.run()
    return network.state_dict(), trainer


def assert_equal(first: dict, second: dict, **tolerance: float) -> None:
    for name in first:
        torch.testing.assert_close(first[name], second[name], msg=name, **(tolerance or {"rtol": 1e-12, "atol": 1e-14}))


@pytest.mark.parametrize("micro_batch", [1, 2, 5, 6, 100])
def test_micro_batches_give_the_update_of_the_full_batch(micro_batch: int) -> None:
    batches = [data(6), data(5), data(6)]
    full, by_full = train(TrainingStep(), batches)
    split, by_split = train(TrainingStep(micro_batch=micro_batch), batches)
    assert_equal(split, full)
    torch.testing.assert_close(by_split.state.output[0]["loss"], by_full.state.output[0]["loss"])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 10))
def test_any_split_is_the_full_batch(size: int, micro_batch: int) -> None:
    gradients = []
    for step in (TrainingStep(), TrainingStep(micro_batch=micro_batch)):
        network = build_network()
        train(step, [data(size)], network)
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert_equal(*gradients)


def test_monai_accumulation_shrinks_the_last_update_of_an_epoch() -> None:
    """Upstream: `SupervisedTrainer(accumulation_steps=2)` (MONAI 1.6.1) halves an update made of one batch."""
    start = build_network().state_dict()
    full, _ = train(TrainingStep(micro_batch=2), [data(2)])
    theirs, _ = train(None, [data(2)], accumulation_steps=2)
    for name in start:
        torch.testing.assert_close(theirs[name] - start[name], (full[name] - start[name]) / 2)


def test_a_step_equals_monais_own_without_splitting() -> None:
    ours, _ = train(TrainingStep(), [data(6), data(6)])
    theirs, _ = train(None, [data(6), data(6)])
    assert_equal(ours, theirs, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_runs_on_the_cpu_and_hands_float32_to_the_loss(amp: str) -> None:
    seen: list[tuple] = []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        seen.append((prediction.dtype, torch.is_autocast_enabled("cpu")))
        return nn.functional.mse_loss(prediction, target)

    network, inner = build_network(torch.float32), []
    network[1].register_forward_hook(lambda module, given, output: inner.append(output.dtype))
    exact, _ = train(TrainingStep(), [data(6, torch.float32)], copy.deepcopy(network))
    low, trainer = train(TrainingStep(4, amp=amp), [data(6, torch.float32)], network, loss_function=loss)
    assert set(inner[-2:]) == {torch.bfloat16 if amp == "bf16" else torch.float16}
    assert seen == [(torch.float32, False)] * 2
    assert trainer.state.output[0]["loss"].dtype == torch.float32
    assert_equal(low, exact, rtol=0.05, atol=5e-3)


def test_monai_amp_does_nothing_on_the_cpu() -> None:
    """Upstream: `SupervisedTrainer(amp=True)` (MONAI 1.6.1) autocasts for CUDA only."""
    network, inner = build_network(torch.float32), []
    network[1].register_forward_hook(lambda module, given, output: inner.append(output.dtype))
    train(None, [data(2, torch.float32)], network, amp=True)
    assert inner == [torch.float32]


def test_loss_scale_is_part_of_the_state() -> None:
    batches = [data(6, torch.float32)] * 3
    step = TrainingStep(amp="fp16")
    assert step.state_dict() == {"scaler": {}}
    train(step, batches, build_network(torch.float32))
    state = step.state_dict()
    assert state["scaler"]["_growth_tracker"] == 3
    other = TrainingStep(amp="fp16")
    other.load_state_dict(state)
    assert other.state_dict() == state
    train(other, batches, build_network(torch.float32))
    assert other.state_dict()["scaler"]["_growth_tracker"] == 6
    assert TrainingStep().state_dict() == {"scaler": {}}


def test_an_overflow_in_float16_skips_the_update_and_lowers_the_scale() -> None:
    step, network = TrainingStep(amp="fp16"), build_network(torch.float32)
    before = copy.deepcopy(network.state_dict())
    batch = {**data(4, torch.float32), "image": torch.full((4, 4), 1e6)}
    after, _ = train(step, [batch], network)
    assert_equal(after, before, rtol=0.0, atol=0.0)
    assert step.state_dict()["scaler"]["scale"] == 2.0**15


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_clipping_bounds_the_whole_gradient(amp: str) -> None:
    network = build_network(torch.float32)
    train(TrainingStep(2, amp=amp, clip_norm=0.01), [data(6, torch.float32)], network)
    norm = torch.stack([parameter.grad.norm() for parameter in network.parameters()]).norm()
    torch.testing.assert_close(norm, torch.tensor(0.01), rtol=1e-3, atol=0)


def drawn(seed: int, iterations: int, start: int = 0) -> list[float]:
    """What a network that draws one number per forward pass draws in each iteration."""
    seen: list[float] = []
    network = build_network(torch.float32)
    network.register_forward_pre_hook(lambda module, given: seen.append(float(torch.rand(1))))
    trainer = build_trainer(network, TrainingStep(seed=seed), [data(2, torch.float32)])
    trainer.load_state_dict({"iteration": start, "epoch_length": 1, "max_epochs": start + iterations})
    trainer.run()
    return seen


def test_random_numbers_depend_on_seed_and_iteration_only() -> None:
    whole = drawn(3, 6)
    assert len(set(whole)) == 6
    torch.manual_seed(99)
    assert drawn(3, 2) + drawn(3, 4, start=2) == whole
    assert drawn(4, 6)[:5] != whole[1:]


def test_events_fire_once_and_the_loss_is_that_of_the_batch() -> None:
    network = build_network()
    trainer = build_trainer(network, TrainingStep(micro_batch=2), [data(6)])
    log: list[tuple] = []
    for event in IterationEvents:
        trainer.add_event_handler(
            event, lambda engine, event=event: log.append((event, [entry["loss"] for entry in engine.state.output]))
        )
    expected = nn.functional.mse_loss(network(data(6)["image"]), data(6)["label"])
    trainer.run()
    names = ("FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED")
    assert [event for event, _ in log] == [IterationEvents[name] for name in names]
    assert log[0][1] == []
    for _, (loss,) in log[1:]:
        torch.testing.assert_close(loss, expected.detach())
        assert not loss.requires_grad


class PlainOnly(nn.Module):
    """A loss over a dict of targets that insists on plain tensors."""

    def forward(self, prediction: Tensor, target: dict[str, Tensor]) -> Tensor:
        assert type(prediction) is Tensor
        assert {type(value) for value in target.values()} == {Tensor}
        return ((prediction - target["label"]).square().mean(1) * target["weight"]).mean()


def test_targets_may_be_a_dict_and_meta_tensors_become_plain() -> None:
    def prepare(batch: dict, device: object, non_blocking: bool) -> tuple[Tensor, dict[str, Tensor]]:
        return MetaTensor(batch["image"]), {"label": MetaTensor(batch["label"]), "weight": torch.arange(6.0)}

    results = [
        train(TrainingStep(micro_batch=size), [data(6)], prepare_batch=prepare, loss_function=PlainOnly())[0]
        for size in (6, 4)
    ]
    assert_equal(*results)


def test_targets_may_be_missing_and_outputs_may_be_tuples() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build_network()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(x), torch.zeros(len(x), dtype=torch.int64)

    def prepare(batch: dict, device: object, non_blocking: bool) -> tuple[Tensor, None]:
        return batch["image"], None

    results = [
        train(
            TrainingStep(micro_batch=size, amp="off"),
            [data(6)],
            Two(),
            prepare_batch=prepare,
            loss_function=lambda output, target: output[0].square().mean(),
        )[0]
        for size in (6, 4)
    ]
    assert_equal(*results)


def test_gradients_are_exchanged_in_the_last_chunk_only() -> None:
    class Quiet:
        def __init__(self, log: list[str]) -> None:
            self.log = log

        def __enter__(self) -> None:
            self.log.append("quiet")

        def __exit__(self, *error: object) -> None:
            self.log.append("end")

    log: list[str] = []
    network = build_network()
    network.no_sync = lambda: Quiet(log)
    network.register_forward_hook(lambda module, given, output: log.append("forward"))
    network[0].weight.register_hook(lambda gradient: log.append("backward"))
    train(TrainingStep(micro_batch=2), [data(5)], network)
    assert log == ["quiet", "forward", "backward", "end"] * 2 + ["forward", "backward"]


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, amp: str) -> None:
    # On the CPU by forbidding what reads a value; SGD, because AdamW reads its step count, which lies on the CPU.
    def refuse(self: Tensor, *arguments: object) -> None:
        raise AssertionError("a value was read from a tensor")

    trainer = build_trainer(build_network(torch.float32), TrainingStep(2, amp=amp, clip_norm=1.0), [])
    batch, step = data(6, torch.float32), trainer._process_function
    trainer.state.iteration = 1
    with monkeypatch.context() as patch:
        for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu", "numpy"):
            patch.setattr(Tensor, name, refuse)
        result = step(trainer, batch)
    assert float(result[0]["loss"]) > 0


class Weighted(nn.Module):
    """Takes a second and a third argument, as MONAI's engines hand them on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = build_network()

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.body(x + shift) * (1.0 if scale is None else scale)


@pytest.mark.parametrize("micro_batch", [2, None])
@pytest.mark.parametrize("scaled", [True, False])
def test_further_arguments_of_the_network_are_cut_with_the_batch(micro_batch: int | None, scaled: bool) -> None:
    """Oracle: MONAI's own iteration, which takes (inputs, targets, args, kwargs) from prepare_batch as well."""
    batch = data(5)
    extra = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]

    def prepare(batch: dict[str, Tensor], *_: Any, **__: Any) -> tuple[Any, ...]:
        return batch["image"], batch["label"], (extra,), {"scale": 2 * extra if scaled else None}

    states = [
        train(step, [batch, batch], copy.deepcopy(Weighted()), prepare_batch=prepare)[0]
        for step in (TrainingStep(micro_batch), None)
    ]
    assert_equal(*states)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_nothing_waits_for_a_cuda_device(amp: str) -> None:
    network = build_network(torch.float32).cuda()
    trainer = build_trainer(network, TrainingStep(2, amp=amp, clip_norm=1.0), [], device=torch.device("cuda"))
    trainer.optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    trainer.state.iteration = 1
    batch = {key: value.cuda() for key, value in data(6, torch.float32).items()}
    trainer._process_function(trainer, batch)  # the first call sets up libraries
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = trainer._process_function(trainer, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(result[0]["loss"]) > 0


def test_yaml_reads_a_bare_off_as_false() -> None:
    assert TrainingStep(amp=False).amp == "off"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"amp": "half"}, "amp is 'half'; choose one of auto, off, bf16, fp16"),
        ({"amp": True}, "amp is True"),
        ({"micro_batch": 0}, "micro_batch is 0; it must be at least 1, or null"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be above 0, or null"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_values_out_of_range_get_a_sentence(change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TrainingStep(**change)


def test_what_the_trainer_hands_on() -> None:
    batch = {"image": torch.rand(2, 1, 4, 4), "label": torch.ones(2, 1, 4, 4), "unlabelled": torch.zeros(2, 3).bool()}
    image, target = ImageBatch()(batch, "cpu")
    assert target is None
    assert torch.equal(image, batch["image"])
    image, target = SegmentationBatch()(batch, "cpu")
    assert set(target) == {"label", "unlabelled"}
