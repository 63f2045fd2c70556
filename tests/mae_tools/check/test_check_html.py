import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from head_files import SEQUENCES, head
from nifti_files import NAMES, pair
from PIL import Image

from bundle_runtime.data.verify_volumes import Expected
from mae_tools.check.check_case import inspect_item
from mae_tools.check.check_html import render


def page(folder: Path, case: str = "a", **image: object) -> str:
    expected = Expected(class_names=tuple(NAMES))
    report = inspect_item(pair(folder, "a", image=image), expected, with_planes=True, section="training")
    report.case = case
    result = {
        "datalist": "list.json",
        "modality": "synthetic CT",
        "class_names": NAMES,
        "errors": 0,
        "warnings": 0,
        "problems": [],
        "conventions": [],
    }
    return render(result, [report])


def test_the_page_needs_no_network_and_shows_outlines(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert not re.search(r"(src|href)=[\"']?(http|//)|<script|@import", text)
    assert "synthetic CT" in text
    assert re.search(r"<p>0 background, <span [^>]*>&#9632;</span>&nbsp;1 liver, <span", text)
    picture = re.search(r"base64,([^\"]+)", text)
    assert picture
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.group(1)))))
    coloured = strip.max(axis=2) != strip.min(axis=2)
    assert strip.shape[0] == 176
    assert coloured.any()


def test_names_are_escaped(tmp_path: Path) -> None:
    text = page(tmp_path, case='<img src=x onerror="alert(1)">')
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


@pytest.mark.parametrize("shape", [(12, 10, 1), (1, 1, 1), (40, 3, 2)])
def test_odd_shapes_and_blank_images_can_be_drawn(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    assert "data:image/png" in page(tmp_path, data=np.zeros(shape, np.float32))


@pytest.mark.parametrize("rule", ["msd", "brats2018"])
def test_outlines_are_those_of_tissues_where_a_convention_names_them(tmp_path: Path, rule: str) -> None:
    """The same colour means the same tissue, whatever its value in the file."""
    report = inspect_item(head(tmp_path, rule=rule), Expected(sequences=SEQUENCES), with_planes=True)
    described = report.convention
    assert described is not None
    result = {
        "datalist": "list.json",
        "modality": None,
        "class_names": ["background", "TC", "WT", "ET"],
        "errors": 0,
        "warnings": 0,
        "problems": [],
        "conventions": [described],
    }
    text = render(result, [report])
    names = re.findall(r'<span style="color:rgb\((\d+),(\d+),(\d+)\)">&#9632;</span>&nbsp;([a-z -]+)', text)
    assert [name[3] for name in names] == ["oedema", "non-enhancing core", "enhancing tumour"]
    assert f"<p>Labels: {described}</p>" in text
    assert re.search(r"<td>oedema \d+|<td>non-enhancing core \d+", text)
    picture = re.search(r"base64,([^\"]+)", text)
    assert picture
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.group(1)))))
    drawn = {tuple(colour) for colour in strip.reshape(-1, 3).tolist()}
    assert {tuple(int(part) for part in name[:3]) for name in names} <= drawn
    # The outermost outline, met first from the left, is that of the oedema.
    row = strip[strip.shape[0] // 2]
    first = next(tuple(pixel) for pixel in row.tolist() if max(pixel) != min(pixel))
    assert first == tuple(int(part) for part in names[0][:3])


def test_classes_have_colours_of_their_own_and_those_not_drawn_are_named(tmp_path: Path) -> None:
    item = {**pair(tmp_path, "a"), "unlabelled": ["spleen"]}
    report = inspect_item(item, Expected(class_names=tuple(NAMES)), with_planes=True)
    result = {
        "datalist": "list.json", "modality": None, "class_names": [f"organ {i}" for i in range(14)], "errors": 0,
        "warnings": 1, "problems": [], "conventions": [],
    }  # fmt: skip
    text = render(result, [report])
    colours = re.findall(r'<span style="color:(rgb[^"]*)">', text)
    assert len(set(colours)) == len(colours) == 13
    assert "; not drawn: spleen</td>" in text
    assert "<ul>" not in text
    problem = {"level": "warning", "file": "a", "message": "odd"}
    assert '<ul><li class="warning">' in render({**result, "problems": [problem]}, [report])
