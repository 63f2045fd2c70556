"""What one picture showed, and what is said of the pictures of a list."""

import numpy as np
import pytest
from bundle_runtime.data.image_file import Picture
from bundle_runtime.data.verify_pictures import Seen, file_problems, look_of
from picture_files import shades


def seen(pixels: np.ndarray, kind: str = "8-bit grey", header: tuple[str, str, str] = ("", "", "")) -> Seen:
    return Seen.of(Picture(pixels, kind, header))


def test_a_decoded_picture() -> None:
    found = seen(shades(40, 50, channels=3).transpose(2, 0, 1), "RGB", ("P7", "CR", "PA"))
    assert (found.kind, found.height, found.width, found.constant) == ("RGB", 40, 50, False)
    assert (found.patient, found.modality, found.view) == ("P7", "CR", "PA")
    assert found.facts() == {"side": 40, "grey": False, "look": found.look}
    assert seen(shades()[None]).facts()["grey"]


def test_a_list_says_what_an_evaluation_says_of_each() -> None:
    pictures = {
        "good": seen(shades()[None]), "blank": seen(np.full((1, 40, 50), 7, np.uint8)),
        "small": seen(shades(20, 50)[None]), "oblong": seen(shades()[None], "RGB of oblong pixels"),
    }  # fmt: skip
    items = [{"image": name, "file": name, "case": name} for name in pictures]
    told = {problem.file: problem.message for problem in file_problems("test", items, pictures)}
    assert told == {
        "blank": "all its pixels are equal, as 1 picture(s) of test",
        "small": "is only 20x50 pixels, smaller than 32, as 1 picture(s) of test",
        "oblong": "holds RGB of oblong pixels, which are taken for squares, as 1 picture(s) of test",
    }
    for name, found in pictures.items():
        assert [told[name].startswith(doubt) for doubt in found.doubts()] == [True] * (name in told)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (0, 0, 0), (255, 255, 255)])
def test_any_colour_has_a_look(colour: tuple[int, int, int]) -> None:
    pixels = np.array(colour, np.uint8).reshape(3, 1, 1).repeat(9, axis=1).repeat(12, axis=2)
    assert len(look_of(pixels)) == 92
