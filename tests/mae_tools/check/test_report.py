import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.conventions import convention
from custom_components.errors import InputError
from head_files import REGION_NAMES, head, head_list
from mae_tools.check.command import check
from nifti_files import NAMES, datalist, pair
from PIL import Image


def page(path: Path, **more: Any) -> str:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    check(path)
    return (path.parent / "check" / "check.html").read_text()


def pictures(text: str) -> list[np.ndarray]:
    """The strips of a page, each (H, W, 3)."""
    found = re.findall(r'"data:image/png;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) for content in found]


def test_the_page_needs_no_network_and_shows_outlines(tmp_path: Path) -> None:
    text = page(datalist(tmp_path, training=[pair(tmp_path)]), modality="synthetic CT")
    assert not re.search(r"(src|href)=[\"']?(http|//)|<script|@import", text)
    assert "<p>synthetic CT; 1 cases, 0 error(s), 0 warning(s).</p>" in text
    assert re.search(r"<p>0 background, <span [^>]*>&#9632;</span>&nbsp;1 liver, <span", text)
    (strip,) = pictures(text)
    assert strip.shape[0] == 176
    assert (strip.max(axis=2) != strip.min(axis=2)).any()


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&"
    text = page(datalist(tmp_path, training=[pair(tmp_path, name)]), modality=name)
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x") >= 3


@pytest.mark.parametrize("shape", [(12, 10, 1), (1, 1, 1), (40, 3, 2)])
def test_odd_shapes_and_blank_images_can_be_drawn(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    entry = pair(tmp_path, "a", image={"data": np.zeros(shape, np.float32)}, data=np.ones(shape, np.uint8))
    assert len(pictures(page(datalist(tmp_path, training=[entry])))) == 1


@pytest.mark.parametrize("rule", ["msd", "brats2018"])
def test_outlines_are_those_of_tissues_where_a_convention_names_them(tmp_path: Path, rule: str) -> None:
    """The same colour means the same tissue, whatever its value in the file."""
    text = page(head_list(tmp_path, training=[head(tmp_path, rule=rule)], class_names=REGION_NAMES))
    names = re.findall(r'<span style="color:rgb\((\d+),(\d+),(\d+)\)">&#9632;</span>&nbsp;([a-z -]+)', text)
    assert [name[3] for name in names] == ["oedema", "non-enhancing core", "enhancing tumour"]
    assert f"<p>Labels: {convention(rule).describe()}</p>" in text
    assert re.search(r"<td>oedema \d+|<td>non-enhancing core \d+", text)
    (strip,) = pictures(text)
    drawn = {tuple(colour) for colour in strip.reshape(-1, 3).tolist()}
    assert {tuple(int(part) for part in name[:3]) for name in names} <= drawn
    # The outermost outline, met first from the left, is that of the oedema.
    row = strip[strip.shape[0] // 2]
    first = next(tuple(pixel) for pixel in row.tolist() if max(pixel) != min(pixel))
    assert first == tuple(int(part) for part in names[0][:3])


def test_classes_have_colours_of_their_own_and_those_not_drawn_are_named(tmp_path: Path) -> None:
    names = [*NAMES, *(f"organ {number}" for number in range(11))]
    item = {**pair(tmp_path), "unlabelled": ["spleen"]}
    text = page(datalist(tmp_path, training=[item]), class_names=names)
    colours = re.findall(r'<span style="color:(rgb[^"]*)">', text)
    assert len(set(colours)) == len(colours) == 13
    assert "; not drawn: spleen</td>" in text
    assert '<td class="warning">' in text


def test_a_verdict_has_its_colour(tmp_path: Path) -> None:
    one, two = pair(tmp_path, "a"), pair(tmp_path, "b", image={"seed": 2})
    Path(two["image"]).write_bytes(b"")
    with pytest.raises(InputError, match="1 error"):
        check(datalist(tmp_path, training=[one, two]))
    text = (tmp_path / "check" / "check.html").read_text()
    assert '<td class="ok">ok</td>' in text
    assert '<td class="error">1 error(s)</td>' in text
    assert f'<li class="error">error: {two["image"]}: is not a readable NIfTI file' in text


def test_every_copy_is_on_the_page_and_in_the_json(tmp_path: Path) -> None:
    entries = [pair(tmp_path, case) for case in "abcde"]
    with pytest.raises(InputError, match=r"1 error.*holds the same voxels as .*a\.nii\.gz in training and as "):
        check(datalist(tmp_path, training=entries[:2], test=entries[2:]))
    found = json.loads((tmp_path / "check" / "check.json").read_text())["copies"]
    assert [[(place["section"], place["case"]) for place in group] for group in found] == [
        [("training", "a"), ("training", "b"), ("test", "c"), ("test", "d"), ("test", "e")]
    ]
    text = (tmp_path / "check" / "check.html").read_text()
    listed = text[text.index("<h2>Copies</h2>") :]
    for entry in entries:
        assert f"{entry['image']} (" in listed
