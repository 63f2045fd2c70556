"""Whole slides through the command line: draw, cut into tiles, and search with a classifier trained on those tiles."""

import csv
import json
import subprocess
from pathlib import Path

import launch
import numpy as np
import pytest
import torch
import yaml
from bundle_runtime.weights.save import save_network
from custom_components.networks.classifier import ViTClassifier
from encoders import on_vit
from page_reader import reported
from PIL import Image

pytestmark = pytest.mark.slow  # a minute

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "histo_sdmae"
TINY = {
    "class_names": ["background", "tumour"], "target": ["tumour"], "mpp": 0.8, "tile_size": 64, "cache_size": 64,
    "img_size": 64, "stride": 32, "hidden_size": 48, "mlp_dim": 96, "num_layers": 3, "num_heads": 4, "nms_distance": 80,
    "itc_diameter": 0, "num_workers": 1,
}  # fmt: skip
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALISATION = {"mean": MEAN, "std": STD, "equalise": "none", "stain": "none", "fit": "crop"}


def command(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    result = launch.run(*arguments)
    assert result.returncode == expect, f"{result.stdout[-3000:]}\n{result.stderr[-5000:]}"
    return result


def train(tiles: Path, model: Path) -> None:
    """A few steps on the tiles, as the bundle's training writes its result."""
    datalist = json.loads((tiles / "datalist.json").read_text())
    items = datalist["training"] + datalist["validation"]
    pixels = np.stack([np.asarray(Image.open(tiles / item["image"])) for item in items]).transpose(0, 3, 1, 2)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (MEAN, STD))
    images = torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std)
    labels = torch.tensor([item["label"] for item in items])
    torch.manual_seed(0)
    network = on_vit(
        ViTClassifier, 3, 64, spatial_dims=2, num_classes=2, hidden_size=48, mlp_dim=96, num_layers=3, num_heads=4,
        class_token=False, pool="mean", norm_after_pool=True,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    weight = torch.tensor([1.0, float((labels == 0).sum() / (labels == 1).sum())])
    for step in range(250):
        chosen = torch.randint(len(images), (64,))
        batch = images[chosen].rot90(step % 4, (2, 3))
        loss = torch.nn.functional.cross_entropy(network(batch), labels[chosen], weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sidecar = {"class_names": TINY["class_names"], "normalisation": NORMALISATION}
    save_network(model / "model.pt", network, sidecar)


def detect(
    folder: Path, model: Path, out: Path, expect: int = 0, **settings: object
) -> subprocess.CompletedProcess[str]:
    overlay = model / "tiny.yaml"
    overlay.write_text(yaml.safe_dump(TINY))
    values = {
        "bundle_root": BUNDLE, "dataset_dir": folder, "annotations": folder, "model_dir": model, "output_dir": out,
        **settings,
    }  # fmt: skip
    flags = [part for key, value in values.items() for part in (f"--{key}", value)]
    files = str([str(BUNDLE / "configs" / "detect.yaml"), str(overlay)])
    return command("monai.bundle", "run", "--config_file", files, *flags, expect=expect)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Slides, and a model of their tiles."""
    root = tmp_path_factory.mktemp("slides")
    slides, tiles, model = root / "slides", root / "tiles", root / "model"
    command("mae_tools", "draw", "slide", "--folder", slides, "--slides", 2, "--size", 1536)
    command("mae_tools", "tiles", slides, "--out", tiles, "--mpp", 0.8, "--tile_size", 64, "--overlap", 32,
            "--annotations", slides, "--val_fraction", 0, "--test_fraction", 0)  # fmt: skip
    model.mkdir()
    train(tiles, model)
    return slides, model


def test_foci_are_found_and_scored(trained: tuple[Path, Path], tmp_path: Path) -> None:
    slides, model = trained
    result = detect(slides, model, tmp_path)
    assert "tiles/s" in result.stdout
    froc = json.loads((tmp_path / "froc.json").read_text())
    assert froc["score"] > 0.4
    for name in ("synthetic_000", "synthetic_001"):
        content = json.loads((tmp_path / name / "detections.geojson").read_text())
        assert content["features"]
        assert {feature["properties"]["classification"]["name"] for feature in content["features"]} == {"tumour"}
        assert (tmp_path / name / "overlay.png").exists()
    with (tmp_path / "slides.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    page = reported(tmp_path, "synthetic_001", "Worst cases", "slides.csv")
    assert sorted(name.partition(":")[0] for name in page.pictures) == ["FROC curve", "synthetic_000", "synthetic_001"]
    assert json.loads((tmp_path / "manifest.json").read_text())["metrics"]["froc_score"] == froc["score"]


def test_a_broken_slide_does_not_stop_the_others(trained: tuple[Path, Path], tmp_path: Path) -> None:
    slides, model = trained
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.tif").symlink_to(slides / "synthetic_000.tif")
    (folder / "short.tif").write_bytes((slides / "synthetic_000.tif").read_bytes()[:5000])
    failed = detect(folder, model, tmp_path / "out", expect=1)
    assert "short.tif" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (tmp_path / "out" / "good" / "detections.geojson").exists()
    assert len(json.loads((tmp_path / "out" / "failures.json").read_text())) == 1
    assert reported(tmp_path / "out", "short.tif: ").pictures == ["good"]


def test_a_target_that_the_network_does_not_know(trained: tuple[Path, Path], tmp_path: Path) -> None:
    slides, model = trained
    failed = detect(slides, model, tmp_path, expect=1, target="['TUM']")
    assert "target 'TUM' is not a class of the network" in failed.stderr
    assert "Traceback" not in failed.stderr
