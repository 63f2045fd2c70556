import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bundle_runtime.engine.collapse import METRICS, CollapseWatch, TeacherStatistics
from bundle_runtime.engine.manifest import RunManifest
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import mutual_info_score

K = 8


def probabilities(rows: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(rows, K, generator=draw)).softmax(dim=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 1000), st.floats(0.0, 20.0), st.integers(1, 40))
def test_numbers_of_a_batch_agree_with_scipy(rows: int, seed: int, sharpness: float, part: int) -> None:
    batch = probabilities(rows, seed, sharpness)
    statistics = TeacherStatistics(K)
    for chunk in batch.split(part):  # micro-batches
        statistics.add(chunk)
    statistics.end_batch()
    found = statistics.result()
    exact = batch.double().numpy()
    mean_entropy = scipy_entropy(exact, axis=1).mean()
    assert found["teacher_entropy"] == pytest.approx(mean_entropy, abs=1e-4)
    information = scipy_entropy(exact.mean(axis=0)) - mean_entropy
    assert found["teacher_information"] == pytest.approx(information, abs=1e-4)
    assert -1e-9 <= found["teacher_information"] <= math.log(min(rows, K)) + 1e-4
    assert found["teacher_prototypes"] == len(set(batch.argmax(dim=1).tolist()))


def test_certain_teachers_have_the_mutual_information_of_scikit_learn() -> None:
    winners = torch.tensor([0, 1, 1, 2, 5, 5, 5, 0])
    statistics = TeacherStatistics(K)
    statistics.add(torch.nn.functional.one_hot(winners, K).float())
    statistics.end_batch()
    expected = mutual_info_score(range(8), winners)
    assert statistics.result()["teacher_information"] == pytest.approx(expected, abs=1e-5)


def test_a_constant_teacher_that_drifts_has_no_information() -> None:
    """Within a batch all images get the same answer; pooled over batches the answers differ."""
    statistics = TeacherStatistics(K)
    for winner in range(4):
        statistics.add(torch.eye(K)[winner].expand(6, K))
        statistics.end_batch()
    assert statistics.result() == {"teacher_information": 0.0, "teacher_entropy": 0.0, "teacher_prototypes": 1.0}
    assert statistics.result() == {}


class Trainer:
    """An engine whose iterations hand given probabilities to the observers of a loss."""

    def __init__(self, batches: list[torch.Tensor], epochs: int, watch: dict[str, Any], folder: Path | None = None):
        self.loss = SimpleNamespace(
            weight=0.2, centre=torch.tensor([0.1, -0.3] + [0.0] * (K - 2)), observers=[], teacher_grad=False,
            centre_on="logits",
        )  # fmt: skip
        self.seen: list[dict[str, float]] = []
        self.engine = Engine(self._step)
        self.engine.state.device = torch.device("cpu")
        self.watch = CollapseWatch(self.loss, **watch)
        if folder is not None:
            RunManifest(folder).attach(self.engine)
        self.watch.attach(self.engine)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: self.seen.append(dict(e.state.metrics)))
        self.batches, self.epochs = batches, epochs

    def _step(self, engine: Engine, batch: torch.Tensor) -> None:
        for observe in self.loss.observers:
            observe(batch)

    def run(self) -> "Trainer":
        self.engine.run(self.batches, max_epochs=self.epochs)
        return self


def test_only_the_last_iterations_of_an_epoch_count() -> None:
    constant, lively = torch.eye(K)[0].expand(K, K), torch.eye(K)
    (seen,) = Trainer([constant, constant, lively, lively], 1, {"iterations": 2}).run().seen
    assert list(seen) == list(METRICS)
    assert seen["teacher_information"] == pytest.approx(math.log(K), abs=1e-5)
    assert seen["teacher_prototypes"] == K
    assert seen["teacher_centre"] == pytest.approx(0.3)
    assert seen["teacher_constant"] == 0
    (seen,) = Trainer([constant, constant, lively, lively], 1, {"iterations": 9}).run().seen
    assert seen["teacher_prototypes"] == (K + 1) / 2


def test_a_constant_teacher_warns_once_aloud_and_in_the_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    constant = torch.eye(K)[3].expand(5, K)
    trainer = Trainer([constant] * 3, 3, {}, tmp_path).run()
    assert not [entry for entry in recwarn if "constant" in str(entry.message)]
    assert [row["teacher_constant"] for row in trainer.seen] == [1.0] * 3
    assert capsys.readouterr().out.count("WARNING: The teacher is constant") == 1
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest["warnings"]) == 1
    assert manifest["metrics"]["teacher_constant"] == 1.0


def faintly_different(rows: int) -> torch.Tensor:
    """An even spread over all prototypes; tiny differences make a different one the highest of each image."""
    return (1e-3 * torch.eye(K)[:rows]).softmax(dim=1)


def test_a_teacher_that_gives_every_image_the_same_spread_is_constant(tmp_path: Path) -> None:
    """Centring on logits makes a teacher that says nothing even, not sharp; all prototypes then seem to be in use."""
    trainer = Trainer([faintly_different(K)], 1, {}, tmp_path).run()
    assert "every image gets the same answer" in trainer.engine.state.warnings[0]
    assert trainer.seen[0]["teacher_prototypes"] == K
    assert trainer.seen[0]["teacher_constant"] == 1


def test_more_prototypes_without_information_are_no_recovery(tmp_path: Path) -> None:
    trainer = Trainer([torch.eye(K)[3].expand(K, K)], 1, {}, tmp_path).run()
    trainer.engine.run([faintly_different(K)], max_epochs=2)
    assert len(trainer.engine.state.warnings) == 1
    assert trainer.seen[-1]["teacher_constant"] == 1


def test_a_teacher_that_comes_to_life_is_said_to(tmp_path: Path) -> None:
    trainer = Trainer([torch.eye(K)[3].expand(5, K)], 1, {}, tmp_path).run()
    for epochs in (2, 3):
        trainer.engine.run([torch.eye(K)], max_epochs=epochs)
    found = trainer.engine.state.warnings
    assert [text.split(":")[0] for text in found] == [
        "The teacher is constant in epoch 1",
        "The teacher tells images apart in epoch 2",
    ]


@pytest.mark.parametrize(
    ("teacher_grad", "centre_on", "advice"),
    [
        (False, "logits", "the history. Train until the reconstruction learns"),
        (True, "logits", "Set teacher_grad: false; if that does not help, train until"),
        (True, "probabilities", "Set teacher_grad: false and centre_on: logits; if"),
    ],
)
def test_only_what_is_not_set_yet_is_advised(tmp_path: Path, teacher_grad: bool, centre_on: str, advice: str) -> None:
    trainer = Trainer([torch.eye(K)[3].expand(5, K)], 1, {}, tmp_path)
    trainer.loss.teacher_grad, trainer.loss.centre_on = teacher_grad, centre_on
    (message,) = trainer.run().engine.state.warnings
    assert advice in message
    assert ("Set " in message) is teacher_grad


def test_a_teacher_of_two_answers_does_not_warn(recwarn: pytest.WarningsRecorder, tmp_path: Path) -> None:
    Trainer([torch.eye(K)[:2]], 2, {}, tmp_path).run()
    assert not [warning for warning in recwarn if "teacher" in str(warning.message)]
    assert "warnings" not in json.loads((tmp_path / "manifest.json").read_text())


def test_nothing_is_watched_without_distillation() -> None:
    loss = SimpleNamespace(weight=0.0, centre=torch.zeros(K), observers=[])
    engine = Engine(lambda *_: None)
    CollapseWatch(loss).attach(engine)
    engine.run([0], max_epochs=1)
    assert engine.state.metrics == {}
    assert loss.observers == []


def test_no_iterations_are_refused() -> None:
    with pytest.raises(InputError, match="iterations of CollapseWatch is 0"):
        CollapseWatch(SimpleNamespace(weight=0.2, centre=torch.zeros(K), observers=[]), 0)
