"""Pages hold everything themselves, and what a file is called cannot become markup."""

import io
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.pages.page import Figure, Part, Table, thumbnail, write_page
from PIL import Image

NASTY = '<script>alert("1")</script>'


def test_names_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    figure = Figure(NASTY, b"png")
    part = Part(NASTY, [NASTY], [("error", NASTY)], [Table([[NASTY]], [NASTY], NASTY)], [NASTY], [figure], folded=True)
    text = write_page(tmp_path / "page.html", NASTY, [part, part._replace(folded=False)]).read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2 + 2 * 9  # title and heading; a figure has its caption twice
    assert text.count("<details>") == 1


def test_verdicts_have_colours(tmp_path: Path) -> None:
    rows = [["1 error", "error"], ["2 warnings", ""], ["fine", "error"]]
    text = write_page(tmp_path / "page.html", "t", [Part(tables=[Table(rows, ["verdict", "x"])])]).read_text()
    assert [text.count(f'class="{level}"') for level in ("error", "warning", "ok")] == [1, 1, 1]


@pytest.mark.parametrize("shape", [(1, 30, 60), (3, 60, 30)])
def test_thumbnails(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    exact = np.asarray(Image.open(io.BytesIO(thumbnail(pixels, 60, "png"))))
    assert (exact == (pixels[0] if shape[0] == 1 else np.moveaxis(pixels, 0, -1))).all()
    small = Image.open(io.BytesIO(thumbnail(pixels, 20)))
    assert (max(small.size), small.format) == (20, "JPEG")
