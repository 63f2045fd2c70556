import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from nifti_files import NAMES, pair
from PIL import Image

from custom_components.data.check_case import inspect_item
from custom_components.data.check_html import render


def page(folder: Path, case: str = "a", **image: object) -> str:
    report = inspect_item(pair(folder, "a", image=image), NAMES, with_planes=True, section="training")
    report.case = case
    result = {
        "datalist": "list.json",
        "modality": "synthetic CT",
        "class_names": NAMES,
        "errors": 0,
        "warnings": 0,
        "problems": [],
    }
    return render(result, [report])


def test_the_page_needs_no_network_and_shows_outlines(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert not re.search(r"(src|href)=[\"']?(http|//)|<script|@import", text)
    assert "synthetic CT" in text
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
