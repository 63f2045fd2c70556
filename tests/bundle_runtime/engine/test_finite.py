"""A loss that is not finite stops the run before it spoils anything."""

import pytest
import torch
from bundle_runtime.engine.checkpoint import read_checkpoint
from bundle_runtime.engine.common import names_of
from bundle_runtime.engine.finite import FiniteLoss
from custom_components.errors import InputError
from ignite.engine import Events
from tiny_training import Tiny, items


def poisoned(value: float, index: int = 6) -> list:
    data = items()
    data[index]["image"] = torch.full_like(data[index]["image"], value)
    return data


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_iteration_and_files(tmp_path, value):
    tiny = Tiny(tmp_path, data=poisoned(value))
    with pytest.raises(
        InputError, match=r"The loss is (nan|inf) at iteration \d \(epoch 1\); the files of that batch: "
    ) as e:
        tiny.run()
    assert "case_6" in str(e.value)
    assert "lower learning_rate or set amp to off" in str(e.value)
    assert not (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "model.pt").exists()


class PoisonAt:
    """Makes one weight NaN at the start of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_STARTED(once=self.iteration), self.call)

    def call(self, engine):
        engine.network[1].weight.data[0, 0] = float("nan")


@pytest.mark.parametrize("iteration", range(5, 9))
def test_the_checkpoint_and_the_best_model_before_a_nan_stay(tmp_path, iteration):
    with pytest.raises(InputError, match=f"at iteration {iteration} "):
        Tiny(tmp_path, handlers=lambda tiny: [PoisonAt(iteration)]).run()
    assert read_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 1
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_save_between_two_looks_refuses_a_nan(tmp_path):
    tiny = Tiny(tmp_path, handlers=lambda tiny: [PoisonAt(5)])
    tiny.finite.interval = 1000
    refused = []

    class SaveNow:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_STARTED(once=2), lambda e: e.add_event_handler(*hook))

    def save(engine):
        with pytest.raises(InputError, match="at iteration 5 "):
            tiny.checkpoint.save(engine)
        refused.append(engine.state.iteration)
        engine.terminate(skip_completed=True)

    hook = (Events.ITERATION_COMPLETED, save)
    SaveNow().attach(tiny.trainer)
    tiny.run()
    assert refused == [5]
    assert read_checkpoint(tmp_path / "checkpoint.pt")["iteration"] == 4


def test_the_host_waits_for_the_device_only_at_the_interval(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(FiniteLoss, "check", lambda self: looks.append(len(self._recent)) or self._recent.clear())
    tiny = Tiny(tmp_path, epochs=1, interval=2)
    tiny.finite.interval = 2
    tiny.run()
    assert looks == [2, 2, 0]  # iterations 2 and 4, and the checkpoint at the end


def test_names_of_batches_in_both_forms():
    assert names_of({"case": ["a", "b", "a"], "image": torch.tensor(2.0)}) == ["a", "b"]
    assert names_of({"case": ["a"], "file": ["x/a.nii.gz"]}) == ["x/a.nii.gz"]
    assert names_of([{"case": "a"}, {"case": "b"}]) == ["a", "b"]
    assert names_of({"image": torch.tensor(2.0)}) == []
    assert names_of(None) == []
    pictures = [{"file": "a.png"}, {"file": "b.png"}, {"file": "c.png"}]
    assert names_of({"image": torch.zeros(2, 1), "index": torch.tensor([2, 0])}, pictures) == ["c.png", "a.png"]
