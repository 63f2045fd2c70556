"""The linear probe as a run: table, file, intervals."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.probes.linear import auc_intervals, run_linear_probe
from custom_components.augment import Normalise, Pipeline
from custom_components.errors import InputError
from custom_components.networks.vit import ViT
from sklearn.metrics import roc_auc_score

NAMES = ["left", "never"]


class Bright:
    """Noise pictures, the even ones a little brighter on the left."""

    def __init__(self, items: list[dict[str, Any]], seed: int) -> None:
        self.items, count = items, len(items)
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 128, (count, 1, 16, 16), dtype=torch.uint8, generator=generator)
        self.images[::2, :, :, :8] += 20

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Any) -> torch.Tensor:
        return self.images[torch.as_tensor(np.asarray(indices))]


def dataset(count: int, seed: int, task: str = "multi_label") -> ImageDataset:
    items = [
        {
            "image": f"{number}.png",
            "patient_id": f"p{number // 3}",
            "label": [1 - number % 2, 0] if task == "multi_label" else number % 2,
        }
        for number in range(count)
    ]
    return ImageDataset(Bright(items, seed), NAMES, task)


def run(folder: Path, task: str = "multi_label", **options: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    network = ViT(1, 16, 8, 24, 32, 2, 2, spatial_dims=2)
    data = dataset(40, 0, task), dataset(31, 1, task)
    pipeline = Pipeline([Normalise(0.5, 0.25)])
    return run_linear_probe(network, *data, pipeline, task, NAMES, folder, "cpu", batch_size=16, **options)


def test_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, header={"weights": "abc"})
    assert json.loads((tmp_path / "probe.json").read_text()) == found
    assert found["header"]["weights"] == "abc"
    training = found["header"]["training"]
    assert (training["items"], list(training["unlearnt"])) == (40, ["never"])
    assert (found["train_images"], found["test_images"], found["test_patients"]) == (40, 31, 11)
    for method in ("logistic", "knn"):
        entry = found["methods"][method]
        assert entry["scores"]["never"] is None
        assert entry["intervals"]["never"] == [None, None]
        low, high = entry["intervals"]["left"]
        assert low <= entry["scores"]["left"] <= high
        assert entry["scores"]["left"] > 0.6
        assert entry["intervals"]["macro_auc"] == [low, high]  # the only one that is defined
    shown = capsys.readouterr().out
    assert "Not learnt by the probe: never (it occurs in none of the 40 training labels)." in shown
    assert "31 test images of 11 patients" in shown
    assert "never" in shown
    assert "absent" in shown


def test_the_list_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, methods=["knn"], section="validation")
    assert found["settings"]["section"] == "validation"
    shown = capsys.readouterr().out
    assert "31 validation images of 11 patients" in shown
    assert "test" not in shown.split("written")[0]


def test_classes(tmp_path: Path) -> None:
    found = run(tmp_path, "multi_class", methods=["knn"])
    assert list(found["methods"]) == ["knn"]
    entry = found["methods"]["knn"]
    assert set(entry["scores"]) == {*NAMES, "macro_auc", "accuracy"}
    low, high = entry["intervals"]["accuracy"]
    assert low <= entry["scores"]["accuracy"] <= high


def test_another_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="method is 'svm'"):
        run(tmp_path / "other", methods=["svm"])
    assert not (tmp_path / "other").exists()


def test_intervals_by_patient_are_those_of_drawing_patients() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((90, 2)) < 0.4).astype(float)
    scores = np.round(labels + generator.normal(size=labels.shape), 1)  # with ties
    labels[:7, 1] = np.nan
    groups = np.arange(90) // 3
    found = auc_intervals(scores, labels, [f"p{group}" for group in groups], resamples=2000)
    draws = []
    for _ in range(500):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in generator.integers(0, 30, 30)])
        known = [rows[np.isfinite(labels[rows, column])] for column in range(2)]
        draws.append([roc_auc_score(labels[rows, column], scores[rows, column]) for column, rows in enumerate(known)])
    expected = np.array(draws)
    table = np.concatenate([expected, expected.mean(axis=1, keepdims=True)], axis=1)
    np.testing.assert_allclose(found, np.quantile(table, (0.025, 0.975), axis=0).T, atol=0.03)


@pytest.mark.parametrize("task", ["multi_class", "multi_label"])
def test_features_become_a_table(tmp_path: Path, task: str) -> None:
    run(tmp_path, task, methods=["knn"], save_features=True)
    with (tmp_path / "features.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 31
    names = ["class"] if task == "multi_class" else NAMES
    assert list(rows[0])[: 2 + len(names)] == ["case", "patient_id", *names]
    assert np.isfinite([float(value) for value in list(rows[0].values())[2 + len(names) :]]).all()


def test_what_a_probe_says_of_each_image_gives_its_scores(tmp_path: Path) -> None:
    content = run(tmp_path)
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    auc = roc_auc_score([float(row["left"]) for row in rows], [float(row["score left"]) for row in rows])
    assert auc == pytest.approx(content["methods"]["logistic"]["scores"]["left"], abs=1e-6)
    assert {row["score never"] for row in rows} == {"nan"}
