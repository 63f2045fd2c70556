import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle_runtime.data.datalist import items, load
from custom_components.errors import InputError
from mae_tools.demo_data.lesions import LESION_CLASSES, lesion_image, make_lesions

SECTIONS = ("training", "validation", "test")


def test_the_data_set(tmp_path: Path) -> None:
    made = make_lesions(tmp_path, cases=40, seed=1, size=64)
    assert load(tmp_path / "datalist.json", class_names=LESION_CLASSES)["task"] == "multi_class"
    assert [len(made[part]) for part in SECTIONS] == pytest.approx([20, 8, 12], abs=2)
    masks = load(tmp_path / "datalist_masks.json", class_names=["background", "lesion"])
    assert masks["mask_kind"] == "binary"
    for part in SECTIONS:
        assert set(Counter(item["label"] for item in made[part])) == set(range(5))
        pairs = zip(items(tmp_path / "datalist.json", part), items(tmp_path / "datalist_masks.json", part), strict=True)
        for item, masked in pairs:
            assert item["image"] == masked["image"]
            assert item["patient_id"] == masked["patient_id"]
            with Image.open(item["image"]) as picture, Image.open(masked["label"]) as mask:
                assert (picture.mode, picture.size, mask.size) == ("RGB", (64, 64), (64, 64))
                values = np.asarray(mask)
            assert set(np.unique(values)) == {0, 255}
            assert 0.01 < (values > 0).mean() < 0.12  # small


def test_it_is_made_alike_every_time_and_begins_alike(tmp_path: Path) -> None:
    for name, cases, seed in (("a", 15, 0), ("b", 15, 0), ("more", 20, 0), ("other", 15, 1)):
        make_lesions(tmp_path / name, cases, seed, 64)
    first, again, more, other = (
        {
            str(file.relative_to(tmp_path / name)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (tmp_path / name).rglob("*.png")
        }
        for name in ("a", "b", "more", "other")
    )
    assert first == again
    assert first.items() <= more.items()
    assert not set(other.values()) & set(first.values())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [({"cases": 14}, "cases is 14, expected at least 15"), ({"size": 48}, "size is 48, expected at least 64")],
)
def test_too_few_or_too_small(tmp_path: Path, given: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_lesions(tmp_path, **given)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 500), st.sampled_from(LESION_CLASSES), st.sampled_from(LESION_CLASSES))
def test_the_class_shows_in_the_lesion_alone(seed: int, patient: int, one: str, other: str) -> None:
    first, mask = lesion_image(seed, patient, 0, one, 80)
    second, again = lesion_image(seed, patient, 0, other, 80)
    assert np.array_equal(mask, again)
    differing = np.nonzero((first != second).any(-1))
    if one != other:
        assert (first[mask] != second[mask]).mean() > 0.5
        rows, columns = np.nonzero(mask)
        reach = 3  # the blur of the camera
        assert differing[0].min() >= rows.min() - reach
        assert differing[0].max() <= rows.max() + reach
        assert differing[1].min() >= columns.min() - reach
        assert differing[1].max() <= columns.max() + reach
    else:
        assert not differing[0].size


def test_structure_tells_the_classes_and_the_colour_of_the_whole_does_not() -> None:
    """Chance is 0.2. The lesion's place is given here; a network has to find it among moles of any class's pigment."""
    structures, colours, labels = [], [], []
    for number in range(240):
        label = number % 5
        pixels, mask = lesion_image(3, number, 0, LESION_CLASSES[label], 112)
        red = pixels[..., 0].astype(float)
        rows, columns = np.nonzero(mask)
        box = red[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        patch = np.asarray(Image.fromarray(box.astype(np.float32)).resize((24, 24)))
        patch = (patch - patch.mean()) / patch.std()
        y, x = np.mgrid[-1:1:24j, -1:1:24j]
        radius, turn = np.hypot(y, x), np.arctan2(y, x)
        rings = [patch[(radius >= low) & (radius < low + 0.18)].mean() for low in np.arange(0, 0.85, 0.17)]
        angular = [abs((patch * np.exp(1j * order * turn) * (radius < 0.8)).mean()) for order in range(1, 8)]
        spectrum = np.abs(np.fft.fft2(patch * (radius < 0.9)))
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(24), np.fft.fftfreq(24)))
        bands = [spectrum[(frequency >= low) & (frequency < low + 0.05)].mean() for low in np.arange(0, 0.4, 0.05)]
        structures.append([*rings, *angular, *np.log(bands)])
        colours.append([*pixels.mean((0, 1)), *pixels.std((0, 1))])
        labels.append(label)
    target, train = np.array(labels), np.arange(240) < 140

    def accuracy(features: list[list[float]]) -> float:
        values = np.array(features)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
        return float(model.fit(values[train], target[train]).score(values[~train], target[~train]))

    by_structure, by_colour = accuracy(structures), accuracy(colours)
    print(f"structure {by_structure:.2f}, colour {by_colour:.2f}")
    assert by_structure > 0.85
    assert by_colour < 0.45
