import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle_runtime.check.check import check
from custom_components.errors import InputError
from mae_tools.demo_data import ABDOMEN_CLASS_NAMES, make_abdomen
from mae_tools.demo_data.abdomen import abdomen_case

ORGANS = dict(enumerate(ABDOMEN_CLASS_NAMES))


@pytest.fixture(scope="module")
def drawn() -> list[tuple[nib.Nifti1Image, nib.Nifti1Image]]:
    return [abdomen_case(0, number) for number in range(10)]


def centre(label: nib.Nifti1Image, value: int) -> np.ndarray:
    """Centre of an organ in RAS millimetres, from the middle of the volume."""
    middle = (np.array(label.shape) - 1) / 2
    voxels = np.argwhere(np.asarray(label.dataobj) == value).mean(axis=0)
    return label.affine[:3, :3] @ (voxels - middle)


def test_equal_seeds_give_equal_bytes_and_others_do_not(drawn: list) -> None:
    again = abdomen_case(0, 3)
    for part in (0, 1):
        assert again[part].to_bytes() == drawn[3][part].to_bytes()
    assert abdomen_case(1, 3)[0].to_bytes() != again[0].to_bytes()


def test_images_and_labels_are_what_they_claim(drawn: list) -> None:
    for image, label in drawn:
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        assert image.shape == label.shape == (96, 80, 72)
        assert np.array_equal(image.affine, label.affine)
        assert set(np.unique(label.dataobj)) == set(ORGANS)
        assert b"synthetic" in image.header["descrip"].item()
        values = np.asarray(image.dataobj)
        assert values.min() < -900
        assert 250 < values.max() < 1500
        assert image.header.get_zooms()[2] > image.header.get_zooms()[0]


def test_volumes_of_the_organs_are_human(drawn: list) -> None:
    limits = {"liver": (500, 2500), "spleen": (60, 500), "right kidney": (50, 300), "left kidney": (50, 300)}
    for _, label in drawn:
        millilitres = np.bincount(np.asarray(label.dataobj).ravel()) * np.prod(label.header.get_zooms()) / 1000
        for value, name in ORGANS.items():
            low, high = limits.get(name, (30, np.inf))
            assert low < millilitres[value] < high, name


def test_left_and_right_in_world_coordinates(drawn: list) -> None:
    for _, label in drawn:
        liver, spleen, right_kidney, left_kidney, aorta = (centre(label, value) for value in range(1, 6))
        assert min(liver[0], right_kidney[0]) > 20
        assert max(spleen[0], left_kidney[0]) < -20
        assert left_kidney[0] < aorta[0] < right_kidney[0]
        assert aorta[1] > max(right_kidney[1], left_kidney[1])  # the aorta runs in front of the kidneys' middle
        assert liver[2] > right_kidney[2]


def test_orientation_and_spacing_vary(drawn: list) -> None:
    assert {"".join(nib.aff2axcodes(image.affine)) for image, _ in drawn} == {"LAS", "LPS", "RAS"}
    assert len({image.header.get_zooms() for image, _ in drawn}) == len(drawn)


def test_no_threshold_finds_an_organ(drawn: list) -> None:
    edges = np.arange(-60, 340, 10)
    best = dict.fromkeys(range(1, 6), 0.0)
    images = [np.asarray(image.dataobj) for image, _ in drawn]
    labels = [np.asarray(label.dataobj) for _, label in drawn]
    for value in best:
        inside = np.stack([_below(image[label == value], edges) for image, label in zip(images, labels, strict=True)])
        everywhere = np.stack([_below(image, edges) for image in images])
        size = np.array([(label == value).sum() for label in labels])
        for low in range(len(edges) - 1):
            hit, marked = (counts[:, low + 1 :] - counts[:, low : low + 1] for counts in (inside, everywhere))
            best[value] = max(best[value], float((2 * hit / (marked + size[:, None])).mean(axis=0).max()))
    assert all(dice < 0.6 for dice in best.values()), best


def _below(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(values, axis=None), edges)


def test_the_data_set_passes_its_own_check(tmp_path: Path) -> None:
    start = time.perf_counter()
    made = make_abdomen(tmp_path, cases=4, shape=(48, 40, 36))
    assert time.perf_counter() - start < 20
    assert [len(made[part]) for part in ("training", "validation", "test")] == [2, 1, 1]
    assert check(tmp_path / "datalist.json")["errors"] == 0
    assert made["modality"] == "synthetic CT"
    assert all("synthetic" in file.name for file in (tmp_path / "images").iterdir())
    files = {file: file.read_bytes() for file in tmp_path.rglob("*.nii.gz")}
    make_abdomen(tmp_path, cases=3, shape=(48, 40, 36))
    for file in sorted(files)[:3]:
        assert file.read_bytes() == files[file]


def test_too_few_cases(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cases is 2, expected at least 3"):
        make_abdomen(tmp_path / "new", cases=2)
    assert not (tmp_path / "new").exists()
