"""The same picture or scan is one, however it is stored."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.check.decode import inspect_files
from mae_tools.copies import Place, copy_problems, find_copies, picture_digest, volume_digest
from picture_files import dicom, png, shades
from PIL import Image


@given(seed=st.integers(0, 99), flips=st.sets(st.integers(0, 2)), order=st.permutations(range(3)))
@settings(max_examples=30, deadline=None)
def test_a_volume_in_any_orientation_and_type(seed: int, flips: set[int], order: list[int]) -> None:
    volume = np.random.default_rng(seed).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    other = np.flip(volume, tuple(flips)).transpose(order)
    assert volume_digest(volume) == volume_digest(other.astype(np.float64)) == volume_digest(other.astype(">i4"))
    changed = other.copy()
    changed[0, 0, 0] += 1
    assert volume_digest(changed) != volume_digest(volume)


def test_a_cube_and_two_zeros() -> None:
    cube = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    cube[0] = 0
    assert volume_digest(cube) == volume_digest(np.where(cube == 0, np.float32(-0.0), cube).transpose(2, 0, 1)[::-1])


@given(seed=st.integers(0, 99), turns=st.integers(0, 3), mirrored=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_picture_turned_mirrored_or_stretched(seed: int, turns: int, mirrored: bool) -> None:
    picture = np.random.default_rng(seed).integers(0, 200, (1, 8, 8)).astype(np.uint8)
    other = np.rot90(picture[:, :, ::-1] if mirrored else picture, turns, axes=(1, 2))
    same = [other, np.repeat(other, 3, axis=0), other.astype(np.uint16) * 257, other.astype(np.float32) / 7]
    assert {picture_digest(picture)} == {picture_digest(np.ascontiguousarray(one)) for one in same}


def test_pictures_that_are_none_of_each_others_copies() -> None:
    one = shades(8, 8)[None]
    inverted, colour = 255 - one, np.concatenate([one, one, one[:, ::-1]])
    blank = [np.full((1, 8, 8), value, np.uint8) for value in (0, 9)]
    assert len({picture_digest(picture) for picture in (one, inverted, colour, one[:, :4], *blank)}) == 6


def test_files_of_every_container(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 50)).astype(np.uint8)
    png(tmp_path / "a.png", pixels)
    Image.fromarray(pixels).save(tmp_path / "b.tif")
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "c.bmp")
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "d.png")
    Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / "e.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "f.tif")
    Image.fromarray(pixels.astype(np.float32)).save(tmp_path / "g.tif")
    found = inspect_files([str(path) for path in sorted(tmp_path.iterdir())], progress=False)
    assert len({entry.digest for entry in found}) == 1
    assert {entry.problem for entry in found} == {""}


def place(section: str, name: str, label: int | None = None) -> Place:
    return Place(section, name, f"{name}.png", label)


def test_groups_and_their_levels() -> None:
    listed = [(place("training", "a"), b"1"), (place("training", "b"), b"1"), (place("validation", "c"), b"2")]
    listed += [(place("test", "c"), b"2"), (place("validation", "d"), b"3"), (place("test", "e"), b"3")]
    copies = find_copies(listed)
    assert [[one.case for one in group] for group in copies] == [["a", "b"], ["d", "e"]]  # a file is no copy of itself
    assert [problem.level for problem in copy_problems(copies, "pixels")] == ["warning", "error"]
    assert [problem.level for problem in copy_problems(copies, "pixels", parity=True)] == ["warning"]


@pytest.mark.parametrize("parity", [False, True])
def test_training_and_test_never_share(parity: bool) -> None:
    copies = [[place("training", "a", 0), place("test", "b", 1), *(place("test", f"c{i}", 0) for i in range(5))]]
    (problem,) = copy_problems(copies, "pixels", parity)
    assert (problem.level, problem.case) == ("error", "b")
    assert problem.message.startswith(
        "holds the same pixels as a.png in training and as c0.png in test, c1.png in test, c2.png in test and 2 more, "
        "with another label; one may stand in one list only"
    )


def test_a_dicom_file_and_its_pictures_in_more_than_8_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(4).integers(0, 4096, (40, 50)).astype(np.uint16)
    window = {"WindowCenter": 500, "WindowWidth": 300}  # what it cuts off still tells pictures apart
    dicom(tmp_path / "a.dcm", values, **window, RescaleSlope=2, RescaleIntercept=-1024)
    dicom(tmp_path / "b.dcm", 4095 - values, PhotometricInterpretation="MONOCHROME1")
    Image.fromarray(values).save(tmp_path / "c.png")
    Image.fromarray(values * 16).save(tmp_path / "d.tif")
    other = values.copy()
    other[0, 0] = other[20, 20]
    dicom(tmp_path / "other.dcm", other, **window)
    *same, last = inspect_files([str(path) for path in sorted(tmp_path.iterdir())], progress=False)
    assert {entry.problem for entry in same} == {""}
    assert len({entry.digest for entry in same}) == 1
    assert last.digest != same[0].digest
