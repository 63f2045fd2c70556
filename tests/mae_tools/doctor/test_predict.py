"""A stage is measured through its real command, and the whole of it is reckoned from that."""

from collections.abc import Iterator
from functools import partial

import bundle_runtime.data.datalist as datalists
import pytest
from mae_tools.bundles import find_bundle, overlays
from mae_tools.demo_data import PAINTERS
from mae_tools.doctor.measure import server
from mae_tools.doctor.predict import Trial, _line

SETTINGS = {"batch_size": 12, "max_epochs": 50, "label_fraction": 1.0}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("doctor")
    PAINTERS["abdomen"](folder / "data", cases=8, shape=(48, 40, 36))
    content = datalists.parse(folder / "data" / "datalist.json")
    root = find_bundle("btcv_unetr_mae")
    with server("forkserver") as apart:  # the tests before may have used threads
        yield Trial(root, content, folder / "data", folder, partial(overlays, root / "configs"), SETTINGS, 0.1, apart)


@pytest.mark.slow  # two whole trainings of a few steps each
def test_a_training(trial: Trial) -> None:
    need = trial.need("pretrain")
    assert need.total is not None, need.said
    crops = 2 * len(trial.content["training"])
    updates = -(-crops // 12) * 50
    assert need.said.startswith(f"{updates:,} updates of 12, measured with 1 and 2;")
    assert need.total >= updates * need.step > 0
    assert 200 < need.memory < 20_000
    assert not list(trial.folder.rglob("training_state.pt"))


@pytest.mark.parametrize("stage", ["evaluate", "inference"])
def test_an_evaluation_and_an_inference(trial: Trial, stage: str) -> None:
    assert trial.stages() == ["pretrain", "train", "evaluate", "inference"]
    need = trial.need(stage)
    assert need.total is not None, need.said
    assert need.total > len(trial.content["test"]) * need.step
    assert 200 < need.memory < 20_000
    assert need.said.startswith(f"{len(trial.content['test'])} steps of 1, ")


def test_the_stages_of_the_labels(trial: Trial) -> None:
    """Class maps of pictures have stages of their own; a bundle without them has the plain ones."""
    two = Trial(**{**vars(trial), "root": find_bundle("medcls_msmae")})
    assert two.stages() == ["pretrain", *(f"{stage}_segmentation" for stage in ("train", "evaluate", "inference"))]
    labelled = Trial(**{**vars(two), "content": {**trial.content, "task": "multi_class"}})
    assert labelled.stages() == ["pretrain", "train", "evaluate", "inference"]


def test_a_stage_that_fails_says_why(trial: Trial) -> None:
    lost = Trial(**{**vars(trial), "data": trial.folder / "elsewhere"})
    need = lost.need("train")
    assert need.total is None
    assert "train failed on" in need.said
    assert "elsewhere" in need.said


def test_a_line_through_two_sizes() -> None:
    assert _line([4, 8], [1.0, 1.5], 24) == pytest.approx(3.5)
    assert _line([4, 8], [1.5, 1.4], 24) == 1.4  # noise, not a law
    assert _line([24], [7.0], 24) == 7.0
