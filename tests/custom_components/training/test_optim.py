"""Layer ids, parameter groups, and the schedule."""

import math

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.networks.unetr import UNETR
from custom_components.networks.vit import ViT
from custom_components.training.optim import WarmupCosine, layer_ids, param_groups
from encoders import on_vit
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from monai.networks.nets import ViT as MonaiViT
from monai.optimizers import WarmupCosineSchedule
from torch import nn

SMALL = {"hidden_size": 12, "mlp_dim": 24, "num_heads": 2}


def vit(**changes: object) -> ViT:
    settings = {"num_layers": 12, "spatial_dims": 2, "pos_embed_type": "sincos_learnable", **SMALL, **changes}
    return ViT(1, (8, 8), (4, 4), **settings)


def unetr() -> UNETR:
    return on_vit(UNETR, 1, 32, out_channels=3, feature_size=4, **SMALL)


def mae() -> MaskedAutoencoder:
    return on_vit(
        MaskedAutoencoder,
        1,
        8,
        4,
        num_layers=2,
        spatial_dims=2,
        decoder_size=12,
        decoder_layers=1,
        decoder_heads=2,
        **SMALL,
    )


class Holder(nn.Module):
    """A head on a transformer that is held under a given name."""

    def __init__(self, name: str, encoder: nn.Module) -> None:
        super().__init__()
        self.add_module(name, encoder)
        self.head = nn.Linear(12, 3)


def by_name(network: nn.Module, groups: list[dict]) -> dict[str, dict]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("prefix", ["", "vit", "encoder"])
@pytest.mark.parametrize("stock", [False, True])
def test_ids_follow_the_depth(prefix: str, stock: bool) -> None:
    encoder = MonaiViT(1, 8, 4, 12, 24, 12, 2, classification=True, spatial_dims=2) if stock else vit()
    ids = layer_ids(Holder(prefix, encoder) if prefix else encoder)
    lead = f"{prefix}." if prefix else ""
    first = ("patch_embedding.patch_embeddings.weight", "patch_embedding.patch_embeddings.bias", "cls_token")
    assert {ids[lead + name] for name in (*first, "patch_embedding.position_embeddings")} == {0}
    assert ids[f"{lead}blocks.0.norm1.weight"] == 1
    assert ids[f"{lead}blocks.11.mlp.linear2.bias"] == 12
    assert ids[f"{lead}norm.weight"] == 13
    assert sorted(set(ids.values())) == list(range(14))


def test_the_whole_decoder_of_unetr_learns_at_the_full_rate() -> None:
    network = unetr()
    ids = layer_ids(network)
    assert {ids[name] for name in ids if not name.startswith("vit.")} == {13}
    assert set(ids) == {name for name, _ in network.named_parameters()}


def test_wrappers_are_looked_through() -> None:
    network = vit()
    compiled = torch.compile(network)
    assert layer_ids(nn.DataParallel(network)) == layer_ids(compiled) == layer_ids(network)
    assert (
        param_groups(compiled, 1.0, 0.05, 0.75)[0]["params"][0]
        is param_groups(network, 1.0, 0.05, 0.75)[0]["params"][0]
    )


def test_scales_of_the_fact_sheet() -> None:
    network = unetr()
    groups = param_groups(network, 8.0625e-4, 0.05, layer_decay=0.75)
    scales = {int(group["name"].split("_")[1]): group["lr_scale"] for group in groups}
    assert scales[0] == pytest.approx(0.023757, abs=5e-7)
    assert scales[1] == pytest.approx(0.031676, abs=5e-7)
    assert scales[11] == pytest.approx(0.5625)
    assert scales[12] == 0.75
    assert scales[13] == 1.0
    rates = by_name(network, groups)
    assert rates["vit.cls_token"]["lr"] == pytest.approx(1.92e-5, rel=3e-3)
    assert rates["vit.norm.weight"]["lr"] == 8.0625e-4


def test_what_is_decayed_at_fine_tuning() -> None:
    network = unetr()
    for name, group in by_name(network, param_groups(network, 1e-3, 0.05, 0.75)).items():
        parameter = network.get_parameter(name)
        spared = parameter.ndim == 1 or name.endswith(("bias", "cls_token", "position_embeddings"))
        assert group["weight_decay"] == (0.0 if spared else 0.05), name


def test_pretraining_decays_class_and_mask_token_and_leaves_fixed_positions_out() -> None:
    network = mae()
    groups = by_name(network, param_groups(network, 1e-3, 0.05, skip_decay=()))
    assert groups["encoder.cls_token"]["weight_decay"] == groups["mask_token"]["weight_decay"] == 0.05
    assert groups["encoder.norm.weight"]["weight_decay"] == 0.0
    assert not any(name.endswith("position_embeddings") for name in groups)


@pytest.mark.parametrize("layer_decay", [1.0, 0.65])
@pytest.mark.parametrize("build", [vit, unetr, mae])
def test_every_trainable_parameter_is_in_exactly_one_group(build: type, layer_decay: float) -> None:
    network = build()
    next(iter(network.parameters())).requires_grad_(False)
    groups = param_groups(network, 1e-3, 0.05, layer_decay)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.parameters() if parameter.requires_grad)
    assert len({group["name"] for group in groups}) == len(groups)
    torch.optim.AdamW(groups, lr=1.0)
    if layer_decay == 1.0:
        assert [group["name"] for group in groups] == ["no_decay", "decay"]


def test_any_network_will_do_without_layer_decay() -> None:
    assert len(param_groups(nn.Linear(2, 2), 1e-3, 0.05)) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer_decay": 0.0}, "layer_decay is 0.0; it must be above 0 and at most 1"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"layer_decay": 0.75}, "layer_decay needs .* Linear does not; set layer_decay to 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_values_out_of_range_get_a_sentence(change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        param_groups(nn.Linear(2, 2), **{"learning_rate": 1e-3, "weight_decay": 0.05, **change})


def test_a_frozen_network_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="Linear has no trainable parameter"):
        param_groups(nn.Linear(2, 2).requires_grad_(False), 1e-3, 0.05)


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def rates(of: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in of.param_groups]


def test_schedule_at_its_corners() -> None:
    target = optimizer(1e-3, 2e-5)
    schedule = WarmupCosine(target, warmup_epochs=10, max_epochs=110, min_lr_ratio=0.1)
    expected = {0: 0.0, 5: 0.5, 10: 1.0, 60: 0.55, 110: 0.1, 500: 0.1}
    for step, factor in expected.items():
        schedule.set(step)
        assert rates(target) == pytest.approx([1e-3 * factor, 2e-5 * factor])


@given(st.integers(0, 50), st.integers(1, 100), st.floats(0, 1))
def test_schedule_rises_then_falls_and_stays_within_bounds(warmup: int, rest: int, ratio: float) -> None:
    schedule = WarmupCosine(optimizer(1.0), warmup, warmup + rest, min_lr_ratio=ratio)
    factors = [schedule.factor(step) for step in range(warmup + rest + 5)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[warmup] == 1.0
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[-5:] == pytest.approx([ratio] * 5, abs=1e-12)


def test_epochs_become_iterations() -> None:
    schedule = WarmupCosine(optimizer(1.0), warmup_epochs=2.5, max_epochs=10, epoch_length=4)
    assert (schedule.warmup_steps, schedule.total_steps) == (10, 40)


def run(target: torch.optim.Optimizer, start: int, iterations: int) -> list[float]:
    """Rates that the iterations of an engine see, which starts after `start` iterations."""
    seen = []
    engine = Engine(lambda _, batch: seen.append(rates(target)[0]))
    WarmupCosine(target, 3, 12).attach(engine)
    engine.load_state_dict({"iteration": start, "epoch_length": 1, "max_epochs": start + iterations})
    engine.run(range(1))
    return seen


def test_a_resumed_run_sees_the_same_rates() -> None:
    whole, target = run(optimizer(1.0), 0, 12), optimizer(1.0)
    first = run(target, 0, 5)
    fresh = optimizer(1.0)
    fresh.load_state_dict(target.state_dict())  # its "lr" is that of the fifth iteration, not the peak
    assert first + run(fresh, 5, 7) == whole
    assert whole[0] == 0.0
    assert whole[3] == 1.0


def test_monai_schedule_rises_again_and_raises_low_groups() -> None:
    """Upstream: `monai.optimizers.WarmupCosineSchedule` (1.6.1) past t_total, and its absolute `end_lr`."""
    theirs, ours = optimizer(1e-3, 1e-5), optimizer(1e-3, 1e-5)
    upstream = WarmupCosineSchedule(theirs, warmup_steps=2, t_total=10, end_lr=1e-4)
    schedule = WarmupCosine(ours, 2, 10, min_lr_ratio=0.1)
    history, own = [], []
    for step in range(17):
        schedule.set(step)
        history.append(rates(theirs))
        own.append(rates(ours))
        theirs.step()
        upstream.step()
    assert history[16][0] > 2 * history[10][0]  # the defect: it rises again
    assert history[5][1] > 1e-5  # the defect: above this group's own peak
    assert [rate for rate, _ in own[10:]] == pytest.approx([1e-4] * 7)
    assert max(rate for _, rate in own) <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((5, 4), "The warm-up takes 5 of 4 iterations; warmup_epochs must be between 0 and max_epochs"),
        ((0, 0), "max_epochs at least 1"),
        ((-1, 4), "warm-up takes -1"),
        ((1, 4, 1, 1.5), "min_lr_ratio is 1.5; it must be at least 0 and at most 1"),
        ((1, 4, 1, math.nan), "min_lr_ratio is nan"),
    ],
)
def test_schedule_out_of_range_gets_a_sentence(arguments: tuple, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        WarmupCosine(optimizer(1.0), *arguments)


def test_the_rate_in_effect_is_known_when_an_epoch_starts() -> None:
    """A progress bar's first line is written there, before any iteration."""
    target = optimizer(1.0)
    engine = Engine(lambda engine, batch: None)
    WarmupCosine(target, 4, 12).attach(engine)
    seen: list[float] = []
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen.extend(rates(target)))
    engine.run([0, 1], max_epochs=3)
    assert seen == [0.0, 0.5, 1.0]


def test_a_power_of_1_falls_in_a_straight_line_and_none_is_the_cosine() -> None:
    """mmcv's "poly" schedule, against torch's own after the warm-up."""
    parameter = nn.Parameter(torch.zeros(1))
    ours = WarmupCosine(torch.optim.SGD([parameter], 0.5), warmup_epochs=4, max_epochs=24, power=2.0)
    optimizer = torch.optim.SGD([parameter], 0.5)
    theirs = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=20, power=2.0)
    for step in range(21):
        assert 0.5 * ours.factor(4 + step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert ours.factor(2) == 0.5
    straight = WarmupCosine(torch.optim.SGD([parameter], 0.5), 0, 2, 10, power=1.0)
    assert [straight.factor(step) for step in (0, 5, 10, 20, 30)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    assert WarmupCosine(torch.optim.SGD([parameter], 0.5), 0, 10).factor(5) == pytest.approx(0.5)
    with pytest.raises(InputError, match="power of the schedule is 0"):
        WarmupCosine(torch.optim.SGD([parameter], 0.5), 0, 10, power=0)
