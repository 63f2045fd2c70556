from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from mae_tools.check.command import check
from mae_tools.demo_data.abdomen import ABDOMEN_CLASS_NAMES, abdomen_case, make_abdomen

SHAPE = (48, 40, 40)


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """HU, labels and the affine of cases in RAS order."""
    cases = [map(nib.as_closest_canonical, abdomen_case(0, number, SHAPE)) for number in range(6)]
    return [(np.asarray(i.dataobj), np.asarray(label.dataobj), i.affine) for i, label in cases]


def test_images_and_labels_are_what_they_claim(drawn: list) -> None:
    image, label = abdomen_case(0, 3, SHAPE)
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
    assert np.array_equal(image.affine, label.affine)
    assert abdomen_case(0, 3, SHAPE)[0].to_bytes() == image.to_bytes() != abdomen_case(1, 3, SHAPE)[0].to_bytes()
    for values, organs, _ in drawn:
        assert set(np.unique(organs)) == set(range(len(ABDOMEN_CLASS_NAMES)))
        assert values[:3].mean() == pytest.approx(-1000, abs=30)  # air beside the body
        assert 0 < np.median(values[organs == 1]) < 130
        assert 150 < values.max() < 1500


def test_organs_have_human_volumes_and_places(drawn: list) -> None:
    for _, label, affine in drawn:
        millilitres = np.bincount(label.ravel())[1:] * np.prod(np.diag(affine)[:3]) / 1000
        for volume, low, high in zip(millilitres, (350, 50, 50, 50, 30), (2500, 500, 350, 350, 300), strict=True):
            assert low < volume < high
        centres = [affine[:3, :3] @ np.argwhere(label == n).mean(axis=0) for n in range(1, 6)]
        liver, spleen, right_kidney, left_kidney, aorta = centres
        assert min(liver[0], right_kidney[0]) - 20 > aorta[0] > max(spleen[0], left_kidney[0]) + 20
        assert aorta[1] > max(right_kidney[1], left_kidney[1])
        assert liver[2] > right_kidney[2]


def test_no_threshold_finds_an_organ(drawn: list) -> None:
    edges = np.arange(-60, 340, 10)
    for value in range(1, 6):
        dice = np.zeros((len(edges), len(edges)))
        for image, label, _ in drawn:
            inside, marked = (
                np.searchsorted(np.sort(values, axis=None), edges) for values in (image[label == value], image)
            )
            hits, found = (counts[None] - counts[:, None] for counts in (inside, marked))
            dice += 2 * hits / (found + (label == value).sum()).clip(1) / len(drawn)
        assert dice.max() < 0.65, ABDOMEN_CLASS_NAMES[value]


def test_the_data_set_passes_its_own_check(tmp_path: Path) -> None:
    made = make_abdomen(tmp_path, cases=4, shape=SHAPE)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [2, 1, 1]
    assert check(tmp_path / "datalist.json")["errors"] == 0
    files = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*.nii.gz"))}
    make_abdomen(tmp_path, cases=3, shape=SHAPE)
    assert {file: file.read_bytes() for file in files} == files


def test_too_few_cases(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cases is 2, expected at least 3"):
        make_abdomen(tmp_path / "new", cases=2)
    assert not (tmp_path / "new").exists()
