from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.datalist import items, load
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.demo_data.lesions import LESION_CLASSES, lesion_image, make_lesions
from PIL import Image
from scipy.ndimage import binary_dilation


def test_the_data_set(tmp_path: Path) -> None:
    made = make_lesions(tmp_path, cases=40, seed=1, size=64)
    assert load(tmp_path / "datalist.json", class_names=LESION_CLASSES)["task"] == "multi_class"
    assert load(tmp_path / "datalist_masks.json", class_names=["background", "lesion"])["mask_kind"] == "binary"
    for part in ("training", "validation", "test"):
        assert set(Counter(item["label"] for item in made[part])) == set(range(5))
        pairs = zip(items(tmp_path / "datalist.json", part), items(tmp_path / "datalist_masks.json", part), strict=True)
        for item, masked in pairs:
            assert (item["image"], item["patient_id"]) == (masked["image"], masked["patient_id"])
            with Image.open(item["image"]) as picture, Image.open(masked["label"]) as mask:
                assert (picture.mode, picture.size, mask.size) == ("RGB", (64, 64), (64, 64))
                values = np.asarray(mask)
            assert set(np.unique(values)) == {0, 255}
            assert 0.04 < (values > 0).mean() < 0.25
    files = {file: file.read_bytes() for file in tmp_path.rglob("*.png")}
    make_lesions(tmp_path, cases=15, seed=1, size=64)
    assert {file: file.read_bytes() for file in files} == files


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 500), st.sampled_from(LESION_CLASSES), st.sampled_from(LESION_CLASSES))
def test_the_class_shows_in_the_lesion_alone(seed: int, patient: int, one: str, other: str) -> None:
    first, mask = lesion_image(seed, patient, 0, one, 80)
    second, again = lesion_image(seed, patient, 0, other, 80)
    assert np.array_equal(mask, again)
    differing = (first != second).any(-1)
    assert (differing[mask].mean() > 0.5) == (one != other)
    assert not differing[~binary_dilation(mask, iterations=2)].any()  # its border is soft


@pytest.mark.parametrize("wrong", [{"cases": 14}, {"size": 48}])
def test_too_few_or_too_small(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_lesions(tmp_path, **wrong)
