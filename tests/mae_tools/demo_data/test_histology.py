import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.feature import local_binary_pattern
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle_runtime.data.datalist import items, load
from custom_components.errors import InputError
from mae_tools.demo_data.histology import HISTOLOGY_CLASSES, make_histology, paint_tile

SECTIONS = ("training", "validation", "test")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*.png")
    }


def test_the_data_set(tmp_path: Path) -> None:
    made = make_histology(tmp_path, cases=64, seed=2, size=48, nuclei_cases=16, nuclei_size=64)
    assert load(tmp_path / "datalist.json", class_names=HISTOLOGY_CLASSES)["task"] == "multi_class"
    assert sum(len(made[part]) for part in SECTIONS) == 64
    slides: dict[str, str] = {}
    for part in SECTIONS:
        assert set(Counter(item["label"] for item in made[part])) == {0, 1, 2, 3}  # every list shows every class
        for item in items(tmp_path / "datalist.json", part):
            with Image.open(item["image"]) as picture:
                assert (picture.mode, picture.size) == ("RGB", (48, 48))
            slide = Path(item["image"]).parent.name
            assert slide.startswith(item["patient_id"])
            assert slides.setdefault(slide, part) == part
    assert len(slides) == 8
    assert len({item["patient_id"] for part in SECTIONS for item in made[part]}) < 8  # some patients have two slides


def test_masks_of_nuclei(tmp_path: Path) -> None:
    make_histology(tmp_path, cases=64, size=48, nuclei_cases=16, nuclei_size=96)
    listed = load(tmp_path / "nuclei" / "datalist.json", class_names=["background", "nucleus"])
    assert listed["mask_kind"] == "instance"
    assert [len(listed[part]) for part in SECTIONS] == pytest.approx([8, 3, 5], abs=2)
    owners = {item["patient_id"] for part in SECTIONS for item in listed[part]}
    tiles = load(tmp_path / "datalist.json")
    assert not owners & {item["patient_id"] for part in SECTIONS for item in tiles[part]}
    for part in SECTIONS:
        for item in items(tmp_path / "nuclei" / "datalist.json", part):
            with Image.open(item["label"]) as mask, Image.open(item["image"]) as picture:
                assert mask.size == picture.size == (96, 96)
                assert mask.mode.startswith("I;16")
                assert 5 < int(np.asarray(mask).max()) < 400


def test_it_is_made_alike_every_time_and_begins_alike(tmp_path: Path) -> None:
    for name, cases, seed in (("a", 64, 0), ("b", 64, 0), ("more", 70, 0), ("other", 64, 1)):
        make_histology(tmp_path / name, cases, seed, 48, nuclei_cases=0)
    first, again, more, other = (digests(tmp_path / name) for name in ("a", "b", "more", "other"))
    assert first == again
    assert first.items() <= more.items()
    assert not set(other.values()) & set(first.values())
    assert not (tmp_path / "a" / "nuclei").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"cases": 63}, "cases is 63, expected at least 64"),
        ({"nuclei_cases": 5}, "nuclei_cases is 5, expected 0 or at least 16"),
        ({"size": 40}, "size is 40 and nuclei_size 144, expected at least 48 pixels"),
    ],
)
def test_too_few_or_too_small(tmp_path: Path, given: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_histology(tmp_path, **given)


def texture(tile: np.ndarray) -> np.ndarray:
    """Local binary patterns of red, in which haematoxylin shows: no mean, no scale."""
    red = tile[..., 0]
    return np.concatenate(
        [
            np.bincount(local_binary_pattern(red, 8, radius, "uniform").astype(int).ravel(), minlength=10)
            for radius in (1, 2, 4)
        ]
    ).astype(float)


def test_texture_tells_the_classes_and_mean_colour_does_not() -> None:
    """Chance is 0.25; slides of the two halves differ in their stain, as those of two hospitals do."""
    slides, colours, textures, labels = 14, [], [], []
    for slide in range(slides):
        for label, kind in enumerate(HISTOLOGY_CLASSES):
            for index in range(2):
                tile = paint_tile(kind, (7, slide, label, index), (7, slide), 80)
                colours.append(tile.mean((0, 1)))
                textures.append(texture(tile))
                labels.append(label)
    train = np.arange(len(labels)) < len(labels) // 2
    target = np.array(labels)

    def accuracy(features: np.ndarray) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
        return float(model.fit(features[train], target[train]).score(features[~train], target[~train]))

    by_colour, by_texture = accuracy(np.array(colours)), accuracy(np.array(textures))
    print(f"mean colour {by_colour:.2f}, texture {by_texture:.2f}")
    assert by_colour < 0.45
    assert by_texture > 0.65
