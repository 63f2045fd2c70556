"""The loss of SD-MAE: its formula, its centre, micro-batches, processes."""

import json
from pathlib import Path
from typing import Any

import launch
import pytest
import torch
import torch.distributed as dist
from custom_components.errors import InputError
from custom_components.losses.distillation import SelfDistillationLoss
from custom_components.networks.masked_autoencoder import ReconstructionLoss
from custom_components.networks.sd_mae import SDMAEOutput
from custom_components.training.optim import param_groups
from encoders import small_sd_mae as network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

K = 12


def output(rows: int = 6, seed: int = 0, level: str = "image") -> SDMAEOutput:
    draw = torch.Generator().manual_seed(seed)
    shape = (rows, K) if level == "image" else (rows, 5, K)
    pred, target = (torch.randn(rows, 4, 8, generator=draw) for _ in range(2))
    student, teacher = (torch.rand(shape, generator=draw) * 2 - 1 for _ in range(2))
    return SDMAEOutput(pred, target, torch.zeros(rows, 4, dtype=torch.int64), student.requires_grad_(), teacher)


@pytest.mark.parametrize("level", ["image", "patch"])
@pytest.mark.parametrize("centre_on", ["logits", "probabilities"])
def test_formula(level: str, centre_on: str) -> None:
    """The loss of arXiv 2203.16983, written out sample by sample in float64."""
    loss = SelfDistillationLoss(0.2, prototypes=K, centre_on=centre_on)
    loss.centre.copy_(torch.linspace(-0.2, 0.2, K))
    out = output(level=level)
    terms, followed = [], []
    for z_s, z_t in zip(out.student.double().reshape(-1, K), out.teacher.double().reshape(-1, K), strict=True):
        p = ((z_t - loss.centre.double()) / 0.04).exp()
        p = p / p.sum()
        q = (z_s / 0.1).exp()
        terms.append(-(p * (q / q.sum()).log()).sum())
        followed.append(z_t if centre_on == "logits" else p)
    expected = 0.2 * torch.stack(terms).mean() + 0.8 * (out.pred.double() - out.target.double()).square().mean()
    centre = 0.9 * loss.centre.double() + 0.1 * torch.stack(followed).mean(dim=0)
    torch.testing.assert_close(loss(out).double(), expected, rtol=1e-5, atol=1e-6)
    loss.update_centre()
    torch.testing.assert_close(loss.centre.double(), centre, rtol=1e-5, atol=1e-6)


def test_p_of_zero_is_the_loss_of_a_masked_autoencoder() -> None:
    out = output()
    loss = SelfDistillationLoss(0.0, prototypes=K)
    assert torch.equal(loss(out), ReconstructionLoss()(out))
    bare = out._replace(student=None, teacher=None)
    assert torch.equal(loss(bare), loss(out))
    loss.update_centre()
    assert not loss.centre.any()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 7), st.integers(1, 6), st.sampled_from(["logits", "probabilities"]))
def test_micro_batches_give_the_loss_and_the_centre_of_the_batch(size: int, rows: int, centre_on: str) -> None:
    whole, parts = (SelfDistillationLoss(prototypes=K, centre_on=centre_on) for _ in range(2))
    out = output(rows)
    expected, total = whole(out), 0.0
    for start in range(0, rows, size):
        chunk = SDMAEOutput(*(part[start : start + size] for part in out))
        total = total + parts(chunk) * len(chunk.pred) / rows
    for loss in (whole, parts):
        loss.update_centre()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(parts.centre, whole.centre)


def test_centre_rests_in_evaluation_and_without_a_step() -> None:
    """The centre is unchanged in eval."""
    loss, seen = SelfDistillationLoss(prototypes=K), []
    loss.observers.append(seen.append)
    with torch.no_grad():
        loss(output())
    loss.eval()
    loss(output())
    loss.update_centre()
    assert not loss.centre.any()
    assert seen == []
    loss.train()
    loss(output())
    assert not loss.centre.any(), "it moves behind the optimiser's step only"
    loss.update_centre()
    assert loss.centre.any()
    assert len(seen) == 1
    moved = loss.centre.clone()
    loss.update_centre()
    assert torch.equal(loss.centre, moved)


def test_teacher_gradients_only_on_request() -> None:
    for teacher_grad in (False, True):
        out = output()
        out.teacher.requires_grad_()
        SelfDistillationLoss(prototypes=K, teacher_grad=teacher_grad)(out).backward()
        assert (out.teacher.grad is not None) is teacher_grad
        assert out.student.grad is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.2}, r"distillation_weight \(p\) is 1.2; it must be at least 0"),
        ({"weight": -0.1}, "distillation_weight"),
        ({"weight": float("nan")}, "distillation_weight"),
        ({"student_temperature": 0.0}, "student_temperature is 0.0"),
        ({"teacher_temperature": -1}, "teacher_temperature"),
        ({"centre_momentum": 1.0}, "centre_momentum is 1.0"),
        ({"centre_on": "features"}, "centre_on is 'features'"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SelfDistillationLoss(**options)


def test_a_network_that_does_not_suit_is_refused() -> None:
    with pytest.raises(InputError, match="no projectors"):
        SelfDistillationLoss(prototypes=K)(output()._replace(student=None, teacher=None))
    with pytest.raises(InputError, match=f"prototypes of the loss is 5, that of the network {K}"):
        SelfDistillationLoss(prototypes=5)(output())
    with pytest.raises(InputError, match="true for the loss and false for the network"):
        SelfDistillationLoss(prototypes=K, teacher_grad=True)(output())


def test_no_process_group_is_needed() -> None:
    """The released centre needs an initialised process group even on one GPU."""
    assert not dist.is_initialized()
    loss = SelfDistillationLoss(prototypes=K)
    loss(output())
    loss.update_centre()
    assert loss.centre.isfinite().all()


def distributed_steps(rank: int, world: int, store: str, folder: str) -> None:
    """Two updates by one of `world` processes, each with its share of eight images and their masks."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    net = network()
    wrapped = torch.nn.parallel.DistributedDataParallel(net) if world > 1 else net
    loss = SelfDistillationLoss(prototypes=K)
    optimizer = torch.optim.SGD(param_groups(net, 0.1, 0.0), lr=0.1)
    for step in range(2):
        draw = torch.Generator().manual_seed(step)
        image, noise = torch.rand(8, 3, 16, 16, generator=draw), torch.rand(8, 16, generator=draw)
        value: Tensor = loss(wrapped(image[rank::world], noise[rank::world]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        loss.update_centre()
    state = {"centre": loss.centre.tolist(), "head": net.student_projector.prototypes.tolist()}
    (Path(folder) / f"state_{world}_{rank}.json").write_text(json.dumps(state))
    if world > 1:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_do_what_one_does_without_unused_parameters(tmp_path: Path) -> None:
    """The released code sets DDP to refuse unused parameters, which a detached teacher's projector would be."""
    distributed_steps(0, 1, "", str(tmp_path))
    launch.together(distributed_steps, 2, str(tmp_path / "store"), str(tmp_path))
    alone, *both = (json.loads((tmp_path / f"state_{name}.json").read_text()) for name in ("1_0", "2_0", "2_1"))
    for state in both:
        for name, values in alone.items():
            torch.testing.assert_close(torch.tensor(state[name]), torch.tensor(values), rtol=1e-4, atol=1e-5)
