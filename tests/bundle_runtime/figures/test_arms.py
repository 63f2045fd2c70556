"""Two arms of a segmentation beside the reference."""

from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.figures.arms import Maps, arms_figure, error_kinds, unit_window
from custom_components.errors import InputError
from PIL import Image
from segmented_volumes import LABEL, NAMES, SHIFTED
from shown_panels import shown, words_stand_apart

IMAGE = np.random.default_rng(0).integers(0, 255, LABEL.shape).astype(np.uint8)


def maps(prediction: np.ndarray) -> Maps:
    return Maps(IMAGE, LABEL, prediction, np.array([0.8, 1.5, 3.0]))


def test_errors_are_of_three_kinds_and_cover_each_wrong_voxel_once() -> None:
    label, prediction = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 0, 1, 2])
    kinds = error_kinds(label, prediction)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in kinds.items()} == {
        "missed": [3], "invented": [1], "another class": [4]
    }  # fmt: skip


def test_kept_maps_come_back_and_missing_ones_say_what_to_do(tmp_path: Path) -> None:
    maps(SHIFTED).write(tmp_path / "pictures" / "maps", "case 1/a")
    back = Maps.read(tmp_path, "case 1/a")
    for name, value in vars(maps(SHIFTED)).items():
        np.testing.assert_array_equal(getattr(back, name), value)
    for end in "ab":  # told apart by their ends alone
        maps(SHIFTED).write(tmp_path / "pictures" / "maps", "x" * 300 + end)
        assert Maps.read(tmp_path, "x" * 300 + end).label.shape == LABEL.shape
    assert len(list((tmp_path / "pictures" / "maps").iterdir())) == 3
    with pytest.raises(InputError, match=r"case_2\.npz is not there; evaluate with --keep_maps true"):
        Maps.read(tmp_path, "case 2")


def test_the_window_is_that_of_the_structures() -> None:
    image = np.where(LABEL > 0, 100.0, 0.0) + np.linspace(-5, 5, LABEL.size).reshape(LABEL.shape)
    image[0, 0, 0] = 4000
    shown = unit_window(image, LABEL)
    assert shown[0, 0, 0] == 255
    assert np.ptp(shown[LABEL > 0]) > 50, "a bright voxel does not flatten them"


def test_the_slice_is_that_of_most_errors_and_a_perfect_arm_has_none(tmp_path: Path) -> None:
    wrong = LABEL.copy()
    wrong[4:7, 4:8, 5] = 0
    told = ["mean Dice 1.000", "mean Dice 0.900"]
    figure = arms_figure([("case 1", told, maps(LABEL), maps(wrong))], ["scratch", "MAE"], NAMES, tmp_path / "arms.png")
    panels = shown(figure)
    assert [panel.title for panel in panels] == ["reference", "scratch", "MAE", "scratch: errors", "MAE: errors"]
    assert [panel.name for panel in panels] == ["case 1\naxial, z = 5", "", "", "", ""]
    assert [panel.note for panel in panels] == ["", *told, "", ""]
    tints = [panel.pixels(-1)[..., 3] > 0 for panel in panels[3:]]
    assert [int(tint.sum()) for tint in tints] == [0, 12]
    with Image.open(tmp_path / "arms.png") as png:
        assert min(png.size) > 200


def test_no_text_is_cut_off_or_over_another(tmp_path: Path) -> None:
    label = np.zeros((80, 30), np.uint8)  # a wide picture: its rows are low
    label[5:20, 5:15] = 1
    side = Maps(np.full((80, 30, 3), 90, np.uint8), label, np.roll(label, 3), np.ones(2))
    rows = [(f"ISIC_0024306_of_a_long_name_{n}.jpg\nlargest loss", ["mean Dice 0.332"] * 2, side, side) for n in (1, 2)]
    figure = arms_figure(rows, ["from scratch", "from MAE"], ["background", "lesion"], tmp_path / "arms.png")
    assert words_stand_apart(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lesion", "missed", "invented"]
