"""Masks keep their values, whatever the file's kind; what they mean."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from bundle_runtime.data.image_file import read_bytes
from bundle_runtime.data.mask_file import Mask, class_map, decode_mask, instance_map
from bundle_runtime.data.verify_masks import look_at_mask
from custom_components.errors import InputError
from PIL import Image

VALUES = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)


def read(path: Path) -> Mask:
    return decode_mask(str(path), read_bytes(str(path)))


def saved(values: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_8_bit_numbers_are_kept(tmp_path: Path, ending: str) -> None:
    assert np.array_equal(read(saved(VALUES, tmp_path / f"m.{ending}")).values, VALUES)


@pytest.mark.parametrize(("ending", "kind"), [("png", np.uint16), ("tif", np.uint16), ("tif", np.int32)])
def test_numbers_of_objects_above_255_are_kept(tmp_path: Path, ending: str, kind: type) -> None:
    values = (VALUES.astype(kind) * 257) if kind == np.uint16 else VALUES.astype(kind) * 70000
    assert np.array_equal(read(saved(values, tmp_path / f"m.{ending}")).values, values)


def test_numbers_are_kept_in_rarer_files(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype=np.int64).reshape(3, 4)
    tifffile.imwrite(tmp_path / "int64.tif", numbers)
    tifffile.imwrite(tmp_path / "white.tif", numbers.astype(np.uint8), photometric="miniswhite")
    tifffile.imwrite(tmp_path / "float.tif", numbers.astype(np.float32) - 0.0001 * (numbers > 0))
    Image.fromarray(numbers.astype(np.uint8)).save(tmp_path / "m.webp", lossless=True)
    for name in ("int64.tif", "white.tif", "float.tif", "m.webp"):
        mask = read(tmp_path / name)
        assert np.array_equal(mask.values, numbers), name
        assert np.array_equal(class_map(mask, "classes", 12, name), numbers)


def test_a_palette_gives_its_indices_and_bilevel_0_and_1(tmp_path: Path) -> None:
    palette = Image.fromarray(VALUES % 3).convert("P")
    palette.putdata((VALUES % 3).ravel().tolist())
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read(tmp_path / "p.png").values, VALUES % 3)
    Image.fromarray(VALUES > 1).save(tmp_path / "b.png")
    assert np.array_equal(read(tmp_path / "b.png").values, VALUES > 1)


@pytest.mark.parametrize("channels", [2, 4])
def test_what_is_transparent_is_not_drawn(tmp_path: Path, channels: int) -> None:
    """Drawing programs leave white, or the colour of the pen, under what they show as transparent."""
    drawn = VALUES > 1
    white = np.full((*VALUES.shape, channels), 255, np.uint8)
    white[..., -1] = np.where(drawn, 200, 30)
    mask = read(saved(white, tmp_path / "m.png"))
    assert np.array_equal(class_map(mask, "binary", 2, "m.png"), drawn)


def test_equal_channels_are_one_and_equal_alpha_changes_nothing(tmp_path: Path) -> None:
    grey = np.repeat(VALUES[..., None], 4, axis=2)
    grey[..., 3] = 128
    assert np.array_equal(read(saved(grey, tmp_path / "m.png")).values, VALUES)
    assert np.array_equal(read(saved(grey[..., [0, 3]], tmp_path / "la.png")).values, VALUES)


def test_colour_is_a_mask_only_where_it_is_binary(tmp_path: Path) -> None:
    colour = np.zeros((2, 3, 3), np.uint8)
    colour[0, 1] = (0, 0, 90)
    values = read(saved(colour, tmp_path / "m.png"))
    assert class_map(values, "binary", 2, "m.png").tolist() == [[0, 1, 0], [0, 0, 0]]
    with pytest.raises(InputError, match=r"m\.png: is a colour picture"):
        class_map(values, "instance", 2, "m.png")


def test_what_the_values_mean() -> None:
    values = VALUES.astype(np.int32)
    mask = Mask(values, "L")
    assert np.array_equal(class_map(Mask(255 * (values > 2), "L"), "binary", 2, "m"), VALUES > 2)
    assert np.array_equal(class_map(mask, "instance", 2, "m"), VALUES > 0)
    assert np.array_equal(class_map(Mask(values % 3, "L"), "classes", 3, "m"), VALUES % 3)
    assert instance_map(values, "instance", VALUES > 0) is values
    with pytest.raises(InputError, match=r"holds the value 255, and the 3 class_names have the indices 0 to 2"):
        class_map(mask, "classes", 3, "m")
    with pytest.raises(InputError, match="mask_kind is 'ids'"):
        class_map(mask, "ids", 3, "m")


def disc(soft: float = 0.0) -> np.ndarray:
    """A disc of 255 on 0, with an edge that is so many pixels wide."""
    rows, columns = np.mgrid[:96, :96] - 48
    distance = 20.0 - np.hypot(rows, columns)
    return (255 * (distance > 0 if not soft else np.clip(distance / soft + 0.5, 0, 1))).astype(np.uint8)


@pytest.mark.parametrize(
    ("ending", "options"), [("jpg", {"quality": 60}), ("webp", {"quality": 60}), ("tif", {"compression": "jpeg"})]
)
@pytest.mark.parametrize("colour", [False, True])
def test_a_binary_mask_of_a_lossy_file_is_cut_at_half_and_said(
    tmp_path: Path, ending: str, options: dict[str, object], colour: bool
) -> None:
    """Against the drawn disc: what lies above 0 would be a sixth more."""
    drawn = disc()
    mask = read(saved(np.repeat(drawn[..., None], 3, 2) if colour else drawn, tmp_path / f"m.{ending}", **options))
    assert mask.lossy
    found = class_map(mask, "binary", 2, "m")
    assert (found != (drawn > 0)).sum() < 0.01 * (drawn > 0).sum()
    assert "counts as drawn; store masks as PNG" in look_at_mask(mask, found, "binary", 2).doubt
    for kind in ("instance", "classes"):
        with pytest.raises(InputError, match=r"is a JPEG or the like, which changes the numbers|is a colour picture"):
            class_map(mask, kind, 256, "m")


def test_soft_edges_and_numbers_are_no_binary_mask(tmp_path: Path) -> None:
    for values in (disc(soft=3.0), disc() // 255 + (disc(soft=1.0) > 200)):
        for stored in (values, values[..., None] * np.array([1, 0, 0], np.uint8)):
            with pytest.raises(
                InputError, match=r"m: holds \d+ values \(0, .*\), and a binary mask has two; .* instance"
            ):
                class_map(read(saved(stored, tmp_path / "m.png")), "binary", 2, "m")
    assert class_map(read(saved(disc() // 3, tmp_path / "m.png")), "binary", 2, "m").sum() == (disc() > 0).sum()


def test_colours_with_soft_edges_are_no_binary_mask(tmp_path: Path) -> None:
    """Fades to black, and noise beside a drawn object, are no objects."""
    hues = np.where(np.arange(96)[:, None] < 48, 0, 1)[..., None] == np.array([0, 1, 2])
    sharp, soft = (np.where(hues, values[..., None], 0).astype(np.uint8) for values in (disc(), disc(soft=3.0)))
    noisy = np.where(np.arange(96)[:, None] == 0, np.array([1, 2, 0], np.uint8), sharp)
    found = class_map(read(saved(sharp, tmp_path / "m.png")), "binary", 2, "m")
    assert np.array_equal(found, disc() > 0)
    mixed = np.where(sharp > 0, np.array([200, 150, 90], np.uint8), 0).astype(np.uint8)
    assert np.array_equal(class_map(read(saved(mixed, tmp_path / "m.png")), "binary", 2, "m"), disc() > 0)
    for stored in (soft, noisy):
        with pytest.raises(InputError, match=r"m: holds \d+ values \(0, .*\), and a binary mask has two"):
            class_map(read(saved(stored, tmp_path / "m.png")), "binary", 2, "m")


@pytest.mark.parametrize("high", [0, 3, 90, 130, 255])
def test_a_dark_lossy_mask_is_refused(tmp_path: Path, high: int) -> None:
    mask = read(saved((disc() > 0).astype(np.uint8) * high, tmp_path / "m.jpg", quality=95))
    if 0 < high < 128:
        with pytest.raises(InputError, match=r"whose highest value is \d+, neither empty \(0\) nor drawn"):
            class_map(mask, "binary", 2, "m")
    else:
        assert class_map(mask, "binary", 2, "m").sum() == pytest.approx((disc() > 0).sum() * (high > 0), rel=0.01)


def test_parts_that_touch_at_a_corner_are_one_object() -> None:
    classes = np.array([[1, 0, 0], [0, 1, 2], [0, 0, 0], [1, 1, 0]], np.uint8)
    objects = instance_map(classes.astype(np.int32), "classes", classes)
    assert objects[0, 0] == objects[1, 1] != objects[3, 0] > 0
    assert objects[1, 2] not in (0, objects[1, 1])  # another class is another object
    assert objects.max() == 3


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    saved(np.array([[0.5]], np.float32), tmp_path / "f.tif")
    saved(np.array([[np.nan, 1]], np.float32), tmp_path / "nan.tif")
    (tmp_path / "t.png").write_text("no picture")
    whole = saved(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), tmp_path / "w.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    frames = [Image.fromarray(VALUES), Image.fromarray(VALUES)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    for name, sentence in {
        "f.tif": "no whole numbers",
        "nan.tif": "no whole numbers",
        "t.png": "not a picture that can be read",
        "cut.png": "truncated or damaged",
        "two.tif": "holds 2 pictures",
        "none.png": "does not exist",
    }.items():
        with pytest.raises(InputError, match=sentence):
            read(tmp_path / name)
