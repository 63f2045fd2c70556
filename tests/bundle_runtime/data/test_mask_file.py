"""Masks keep their values, whatever the file's kind; what they mean."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_runtime.data.mask_file import class_map, instance_map, read_mask
from custom_components.errors import InputError

VALUES = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)


def saved(values: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_8_bit_numbers_are_kept(tmp_path: Path, ending: str) -> None:
    assert np.array_equal(read_mask(saved(VALUES, tmp_path / f"m.{ending}")), VALUES)


@pytest.mark.parametrize(("ending", "kind"), [("png", np.uint16), ("tif", np.uint16), ("tif", np.int32)])
def test_numbers_of_objects_above_255_are_kept(tmp_path: Path, ending: str, kind: type) -> None:
    values = (VALUES.astype(kind) * 257) if kind == np.uint16 else VALUES.astype(kind) * 70000
    assert np.array_equal(read_mask(saved(values, tmp_path / f"m.{ending}")), values)


def test_a_palette_gives_its_indices_and_bilevel_0_and_1(tmp_path: Path) -> None:
    palette = Image.fromarray(VALUES % 3).convert("P")
    palette.putdata((VALUES % 3).ravel().tolist())
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), VALUES % 3)
    Image.fromarray(VALUES > 1).save(tmp_path / "b.png")
    assert np.array_equal(read_mask(tmp_path / "b.png"), VALUES > 1)


def test_equal_channels_are_one_and_alpha_is_left_out(tmp_path: Path) -> None:
    grey = np.repeat(VALUES[..., None], 4, axis=2)
    grey[..., 3] = 128
    assert np.array_equal(read_mask(saved(grey, tmp_path / "m.png")), VALUES)
    assert np.array_equal(read_mask(saved(grey[..., [0, 3]], tmp_path / "la.png")), VALUES)


def test_colour_is_a_mask_only_where_it_is_binary(tmp_path: Path) -> None:
    colour = np.zeros((2, 3, 3), np.uint8)
    colour[0, 1] = (0, 0, 90)
    values = read_mask(saved(colour, tmp_path / "m.png"))
    assert class_map(values, "binary", 2, "m.png").tolist() == [[0, 1, 0], [0, 0, 0]]
    with pytest.raises(InputError, match=r"m\.png: is a colour picture"):
        class_map(values, "instance", 2, "m.png")


def test_what_the_values_mean() -> None:
    values = VALUES.astype(np.int32)
    assert np.array_equal(class_map(values, "binary", 2, "m"), VALUES > 0)
    assert np.array_equal(class_map(values, "instance", 2, "m"), VALUES > 0)
    assert np.array_equal(class_map(values % 3, "classes", 3, "m"), VALUES % 3)
    assert instance_map(values, "instance", VALUES > 0) is values
    with pytest.raises(InputError, match=r"holds the value 255, and the 3 class_names have the indices 0 to 2"):
        class_map(values, "classes", 3, "m")
    with pytest.raises(InputError, match="mask_kind is 'ids'"):
        class_map(values, "ids", 3, "m")


def test_parts_that_touch_at_a_corner_are_one_object() -> None:
    classes = np.array([[1, 0, 0], [0, 1, 2], [0, 0, 0], [1, 1, 0]], np.uint8)
    objects = instance_map(classes.astype(np.int32), "classes", classes)
    assert objects[0, 0] == objects[1, 1] != objects[3, 0] > 0
    assert objects[1, 2] not in (0, objects[1, 1])  # another class is another object
    assert objects.max() == 3


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    saved(np.array([[0.5]], np.float32), tmp_path / "f.tif")
    (tmp_path / "t.png").write_text("no picture")
    whole = saved(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), tmp_path / "w.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    frames = [Image.fromarray(VALUES), Image.fromarray(VALUES)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    for name, sentence in {
        "f.tif": "no whole numbers",
        "t.png": "not a picture that can be read",
        "cut.png": "truncated or damaged",
        "two.tif": "holds 2 pictures",
        "none.png": "does not exist",
    }.items():
        with pytest.raises(InputError, match=sentence):
            read_mask(tmp_path / name)
