from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.datalist import write
from bundle_runtime.data.load_picture import LoadPictured
from bundle_runtime.data.verify_masks import _separate_pieces
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.check.command import check
from mae_tools.check.pictures import inspect_mask
from picture_files import png, shades
from PIL import Image
from skimage.measure import label


def squares(count: int, dtype: Any, highest: int | None = None) -> np.ndarray:
    """So many objects of 2 x 2 pixels, apart from each other, numbered from 1 on; numbers stop at `highest`."""
    side = int(np.ceil(np.sqrt(count)))
    values = np.zeros((4 * side, 4 * side), np.int64)
    for number in range(count):
        row, column = 4 * (number // side), 4 * (number % side)
        values[row : row + 2, column : column + 2] = min(number + 1, highest or count)
    return values.astype(dtype)


def test_255_objects_in_8_bits_are_doubted_and_more_refused(tmp_path: Path) -> None:
    exact = inspect_mask(str(png(tmp_path / "exact.png", squares(255, np.uint8))), "instance", 2)
    assert (exact.problem, exact.objects, exact.pieces) == ("", 255, 0)
    assert "is an 8-bit file with the number 255, its highest; if the tile has more" in exact.doubt
    fewer = inspect_mask(str(png(tmp_path / "fewer.png", squares(254, np.uint8))), "instance", 2)
    assert (fewer.problem, fewer.doubt, fewer.objects) == ("", "", 254)
    cut = inspect_mask(str(png(tmp_path / "cut.png", squares(300, np.uint8, highest=255))), "instance", 2)
    assert "numbers were cut off at 255: 1 of 255 numbers lie in several separate pieces" in cut.problem
    around = squares(600, np.int64) % 256  # as a cast to 8 bits leaves them
    wrapped = inspect_mask(str(png(tmp_path / "wrapped.png", around.astype(np.uint8))), "instance", 2)
    assert "numbers were cut off at 255: 255 of 255 numbers" in wrapped.problem
    wide = inspect_mask(str(png(tmp_path / "wide.png", squares(600, np.uint16))), "instance", 2)
    assert (wide.problem, wide.doubt, wide.objects) == ("", "", 600)


def test_foreground_given_as_objects(tmp_path: Path) -> None:
    binary = png(tmp_path / "binary.png", np.where(squares(9, np.uint8) > 0, 255, 0).astype(np.uint8))
    assert "holds the number 255 alone, in 9 separate pieces" in inspect_mask(str(binary), "instance", 2).problem
    assert inspect_mask(str(binary), "binary", 2).pixels == (144 - 36, 36)
    assert "holds the value 255" in inspect_mask(str(binary), "classes", 2).problem


def test_colour_codes_are_no_numbers(tmp_path: Path) -> None:
    values = squares(30, np.int64)
    coded = np.stack([values * 37 % 256, values * 91 % 256, values * 11 % 256], -1).astype(np.uint8)
    file = str(png(tmp_path / "coded.png", coded))
    for kind in ("instance", "classes"):
        assert "is a colour picture" in inspect_mask(file, kind, 2).problem
    assert inspect_mask(file, "binary", 2).pixels[1] == 120


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 6), st.booleans())
def test_pieces_against_scikit_image(seed: int, highest: int, with_background: bool) -> None:
    values = np.random.default_rng(seed).integers(0 if with_background else 1, highest + 1, (9, 11))
    numbers, pieces = _separate_pieces(values)
    assert numbers == sorted(set(values.ravel().tolist()) - {0})
    assert pieces == [int(label(values == number, connectivity=2).max()) for number in numbers]


def tree(root: Path, masks: dict[str, np.ndarray], kind: str = "instance", **keys: Any) -> Path:
    """A list with a picture of 40 x 50 for each mask, named `<list>_<name>`."""
    lists: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for number, (name, mask) in enumerate(masks.items()):
        png(root / f"images/{name}.png", shades(seed=number, channels=3))
        png(root / f"masks/{name}.png", mask)
        lists[name.split("_")[0]].append({"image": f"images/{name}.png", "label": f"masks/{name}.png"})
    write(root / "datalist.json", {"class_names": ["background", "nucleus"], "mask_kind": kind, **lists, **keys})
    return root / "datalist.json"


def mask(*numbers: int) -> np.ndarray:
    values = np.zeros((40, 50), np.uint16)
    for index, number in enumerate(numbers):
        values[5 * index : 5 * index + 3, 4:9] = number
    return values


def warnings_of(result: dict[str, Any]) -> str:
    return "\n".join(problem["message"] for problem in result["problems"] if problem["level"] == "warning")


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = np.ones((40, 50), np.uint16)
    path = tree(
        tmp_path,
        {"training_a": mask(1, 2), "training_b": mask(), "training_c": mask(7, 7), "test_d": full, "test_e": mask()},
    )
    result = check(path, num_workers=0)
    assert result["errors"] == 0
    said = warnings_of(result)
    assert "is empty (no object is drawn), as 1 of 3 masks of training" in said
    assert "has objects in several separate pieces, as 1 of 3 masks of training" in said
    assert "has no background, as 1 of 2 masks of test" in said
    assert result["lists"]["training"]["labels"]["nucleus"] == {"present": 2, "absent": 1, "unknown": 0}
    assert "nucleus     2         1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("size", r"masks/training_a\.png: is a mask of 20x50 pixels for a picture of 40x50; expected the same size"),
        ("empty", r"class 'nucleus' occurs in no mask of training, so it cannot be learnt"),
        ("damaged", r"masks/training_a\.png: is truncated or damaged"),
        ("missing", r"masks/training_a\.png: does not exist"),
        ("unlabelled", r"images/training_b\.png: has no label, as 1 of 2 items of training"),
        ("tiny", r"images/training_a\.png: is only 12x50 pixels, smaller than one patch of 16"),
    ],
)
def test_errors(tmp_path: Path, kind: str, sentence: str) -> None:
    path = tree(tmp_path, {"training_a": mask(1, 2), "training_b": mask(3), "test_c": mask(1)})
    target = tmp_path / "masks/training_a.png"
    if kind == "size":
        png(target, mask(1)[:20])
    elif kind == "empty":
        for name in "ab":
            png(tmp_path / f"masks/training_{name}.png", mask())
    elif kind == "damaged":
        target.write_bytes(target.read_bytes()[:60])
    elif kind == "missing":
        target.unlink()
    elif kind == "unlabelled":
        path.write_text(
            path.read_text().replace(
                '"image": "images/training_b.png",\n      "label": "masks/training_b.png"',
                '"image": "images/training_b.png"',
            )
        )
    elif kind == "tiny":
        png(tmp_path / "images/training_a.png", shades(12, 50, channels=3))
        png(target, mask(1)[:12])
    with pytest.raises(InputError, match=sentence):
        check(path, num_workers=0)


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "I;16"])
def test_tiles_of_other_modes_are_converted_with_a_warning(tmp_path: Path, mode: str) -> None:
    path = tree(tmp_path, {"training_a": mask(1), "training_b": mask(1, 2)})
    file = tmp_path / "images/training_a.png"
    if mode == "I;16":
        Image.fromarray(shades().astype(np.uint16) * 200).save(file)
        kind = "16-bit grey"
    else:
        with Image.open(file) as picture:
            converted = picture.convert(mode)
        kind = {"CMYK": "CMYK", "RGBA": "RGB with alpha"}[mode]
        converted.save(file, format="TIFF")
    said = warnings_of(check(path, num_workers=0))
    assert f"holds {kind} and is converted to 8-bit grey or RGB, as 1 picture(s) of training" in said


def test_what_a_check_says_of_one_mask_is_said_in_an_evaluation(tmp_path: Path) -> None:
    """Empty masks, full ones, objects in pieces: the list of a check names the first, an evaluation each case."""
    apart = np.zeros((40, 40), np.uint8)
    apart[2:5, 2:5] = apart[20:24, 20:24] = 1
    apart[30:34, 4:8] = 2
    masks = {"empty": np.zeros((40, 40), np.uint8), "full": np.ones((40, 40), np.uint8), "apart": apart}
    load, said = LoadPictured(["background", "nucleus"]), {}
    for number, (name, values) in enumerate(masks.items()):
        image = str(png(tmp_path / f"{name}.png", shades(40, 40, seed=number, channels=3)))
        item = {"image": image, "label": str(png(tmp_path / f"{name}_m.png", values)), "mask_kind": "instance"}
        said[name] = load({**item, "case": name})["warning"]
    assert said == {
        "empty": "its mask is empty (no object is drawn)",
        "full": "its mask has no background",
        "apart": "its mask has objects in several separate pieces",
    }
