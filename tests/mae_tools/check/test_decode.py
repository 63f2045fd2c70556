"""Facts about picture files, found by several processes."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mae_tools.check.decode import inspect_files
from picture_files import dicom, png, shades
from PIL import Image


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_is_found(tmp_path: Path, num_workers: int) -> None:
    files = [str(png(tmp_path / f"{number}.png", shades(40 + number, 300, seed=number))) for number in range(20)]
    files[5] = str(dicom(tmp_path / "x.dcm", shades().astype(np.uint16), ViewPosition="LL"))
    files[6] = str(png(tmp_path / "flat.png", np.full((46, 300), 9, np.uint8)))
    files[7] = str(tmp_path / "none.png")
    before = torch.random.get_rng_state()
    found = inspect_files(files, [3, 5], num_workers, progress=False)
    assert torch.equal(torch.random.get_rng_state(), before)  # a check must not change the run behind it
    assert [entry.height for number, entry in enumerate(found) if number not in (5, 7)] == [
        40 + number for number in range(20) if number not in (5, 7)
    ]
    assert (found[5].kind, found[5].patient) == ("DICOM CR", "P7")
    assert (found[5].modality, found[5].view) == ("CR", "LL")
    assert (found[4].modality, found[4].view, found[4].constant) == ("", "", False)
    assert [number for number, entry in enumerate(found) if entry.constant] == [6]
    assert found[7].problem.startswith("does not exist")
    assert [number for number, entry in enumerate(found) if entry.thumbnail] == [3, 5]
    with Image.open(io.BytesIO(found[3].thumbnail)) as image:
        assert image.size == (160, 23)
    assert len({entry.digest for entry in found}) == 20


def test_the_digest_is_of_the_pixels(tmp_path: Path) -> None:
    pixels = shades(40, 40)
    files = [png(tmp_path / name, pixels) for name in ("a.png", "b.bmp", "c.tif")]
    files.append(png(tmp_path / "d.png", pixels.reshape(20, 80)))  # the same bytes in another shape
    digests = [entry.digest for entry in inspect_files([str(file) for file in files], progress=False)]
    assert digests[0] == digests[1] == digests[2] != digests[3]
    assert inspect_files([], progress=False) == []


def test_wide_grey_is_digested_as_its_reader_has_it(tmp_path: Path) -> None:
    """Half floats, which Pillow does not know, and 16 bits with white at 0 are copies of their plain twins."""
    values = np.random.default_rng(0).permutation(1600).reshape(40, 40).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "half.tif", values.astype(np.float16))
    tifffile.imwrite(tmp_path / "white.tif", 65535 - values, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "wide.tif", values.astype(np.uint64) * 1000, photometric="minisblack")
    Image.fromarray(values // 8 * 8).save(tmp_path / "other.png")
    names = ("a.png", "half.tif", "white.tif", "wide.tif", "other.png")
    found = inspect_files([str(tmp_path / name) for name in names], progress=False)
    assert [entry.problem for entry in found] == [""] * 5
    assert len({entry.digest for entry in found[:4]}) == 1
    assert found[4].digest != found[0].digest
