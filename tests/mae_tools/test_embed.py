"""Features and ROC curves of several runs in one picture."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.files import write_csv
from bundle_runtime.probes.linear import FEATURES
from custom_components.errors import InputError
from mae_tools.embed import embed, embed_features, roc, silhouette
from PIL import Image
from scored_images import report
from sklearn.metrics import silhouette_score


def features(folder: Path, apart: float, findings: bool = False) -> Path:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    values = generator.normal(size=(60, 8)) + apart * np.eye(8)[labels]
    truth = [[["a", "b", "c"][label]] for label in labels]
    if findings:
        truth = [[float(label == 0), float("nan")] for label in labels]
    rows = [[f"case {i}", f"p{i}", *truth[i], *values[i]] for i in range(60)]
    columns = ["mass", "nodule"] if findings else ["class"]
    write_csv(folder / FEATURES, ["case", "patient_id", *columns, *(f"f{i}" for i in range(8))], rows)
    return folder


def test_classes_that_lie_apart_have_the_larger_silhouette(tmp_path: Path) -> None:
    folders = [str(features(tmp_path / name, apart)) for name, apart in (("mae", 0.5), ("sdmae", 8.0))]
    text = embed(*folders, out=str(tmp_path / "tsne.png"))
    found = json.loads((tmp_path / "tsne.json").read_text())["silhouette"]
    assert found["sdmae"] > 0.2 > found["mae"]
    assert f"{found['sdmae']:.3f}" in text
    with (tmp_path / "sdmae" / FEATURES).open() as stream:
        rows = list(csv.reader(stream))[1:]
    table = np.array([row[3:] for row in rows], float)
    scaled = (table - table.mean(0)) / table.std(0)
    assert found["sdmae"] == pytest.approx(silhouette_score(scaled, [row[2] for row in rows]))
    with Image.open(tmp_path / "tsne.png") as png:
        assert png.size[1] > 0.9 * png.size[0], "a row an encoder"


def test_views_keep_neighbours_and_are_the_same_every_time() -> None:
    labels = np.repeat([0, 1], 30)
    values = np.random.default_rng(1).normal(size=(60, 5)) + 10 * labels[:, None]
    first, second = embed_features(values), embed_features(values)
    for name, places in first.items():
        assert places.shape == (60, 2)
        np.testing.assert_array_equal(places, second[name])
        assert silhouette(places, labels) > 0.4
    assert np.isnan(silhouette(values, np.zeros(60)))


def test_of_several_findings_one_gives_the_colours(tmp_path: Path) -> None:
    folder = str(features(tmp_path / "cxr", 8.0, findings=True))
    with pytest.raises(InputError, match=r"choose one by --finding: mass, nodule"):
        embed(folder, out=str(tmp_path / "a.png"))
    embed(folder, out=str(tmp_path / "a.png"), finding="mass")
    assert json.loads((tmp_path / "a.json").read_text())["silhouette"]["cxr"] > 0.1
    with pytest.raises(InputError, match=r"run linear_probe with --save_features true"):
        embed(str(tmp_path))


def test_curves_of_several_runs_are_in_one_picture(tmp_path: Path) -> None:
    for name in ("scratch", "mae", "sdmae"):
        report("multi_class").write(tmp_path / name)
    folders = [str(tmp_path / name) for name in ("scratch", "mae", "sdmae")]
    assert roc(*folders, out=str(tmp_path / "roc.png")) == f"written: {tmp_path / 'roc.png'}"
    with Image.open(tmp_path / "roc.png") as png:
        assert min(png.size) > 200
    with pytest.raises(InputError, match=r"There are 3 folders and the names \['a', 'b'\]"):
        roc(*folders, names=["a", "b"])
