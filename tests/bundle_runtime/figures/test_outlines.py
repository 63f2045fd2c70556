"""Outlines on pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.figures.arms import Maps
from bundle_runtime.figures.outlines import OutlinePictures, _outlined, outline_figure
from PIL import Image
from shown_panels import shown


def test_panels_for_the_image_and_each_map(tmp_path: Path) -> None:
    image = np.full((3, 40, 60), 200, np.uint8)
    classes = np.zeros((40, 60), int)
    classes[5:20, 5:20] = 1
    figure = outline_figure(image, {"prediction": (classes, None)}, tmp_path / "a.png", ["background", "nucleus"], "a")
    assert [panel.title for panel in shown(figure)] == ["image", "prediction"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nucleus"]
    assert Image.open(tmp_path / "a.png").size[0] > 1500


def test_grey_pictures_and_maps_without_objects(tmp_path: Path) -> None:
    image, classes = np.zeros((1, 9, 9), np.uint8), np.zeros((9, 9), int)
    figure = outline_figure(image, {"reference": (classes, classes)}, tmp_path / "a.png", ["background", "x"])
    assert not figure.legends


def test_a_line_parts_objects_that_touch() -> None:
    picture = np.full((10, 20, 3), 128, np.uint8)
    classes = np.ones((10, 20), int)
    objects = np.repeat([[1] * 10 + [2] * 10], 10, axis=0)
    one, two = (_outlined(picture, classes, numbers, 2) for numbers in (classes, objects))
    assert one.shape == two.shape == (20, 40, 3)
    assert (one[10, 19] == one[10, 5]).all()
    assert (two[10, 19] != two[10, 5]).any()


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    maps = {"prediction": (np.zeros((4, 4), int), None)}
    with pytest.raises(ValueError, match="prediction has shape"):
        outline_figure(np.zeros((3, 4, 5), np.uint8), maps, tmp_path / "a.png", ["background", "x"])


def test_maps_are_kept_with_their_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 255, (3, 8, 12), dtype=np.uint8))
    label, called = torch.zeros(1, 8, 12), torch.zeros(1, 8, 12)
    label[0, 2, 3], called[0, 2, 5] = 1, 1
    handler = OutlinePictures(tmp_path / "pictures", ["background", "x"], epochs=False, keep=True)
    handler._picture({"image": image, "label": label, "case": "c"}, {"pred": called}, None, "c")
    maps = Maps.read(tmp_path, "c")
    np.testing.assert_array_equal(maps.image[3, 2], image[:, 2, 3])  # x, y
    assert np.argwhere(maps.label).tolist() == [[3, 2]]
    assert np.argwhere(maps.prediction).tolist() == [[5, 2]]
