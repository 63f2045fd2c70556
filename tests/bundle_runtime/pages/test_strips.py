"""Dots lie where the scores are."""

import math
from xml.etree import ElementTree

from bundle_runtime.pages.strips import strips

SVG = "{http://www.w3.org/2000/svg}"


def test_a_dot_a_case_and_a_stroke_at_the_mean() -> None:
    root = ElementTree.fromstring(strips({"a & b": [0.0, 1.0, math.nan], "none": [math.nan]}, "caption").content)
    scale = next(iter(root.iter(f"{SVG}line"))).attrib
    first, last = float(scale["x1"]), float(scale["x2"])
    assert [float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle")] == [first, last]
    (stroke,) = root.iter(f"{SVG}path")
    assert stroke.attrib["d"].startswith(f"M{(first + last) / 2:.1f} ")
    assert [text.text for text in root.iter(f"{SVG}text")][:2] == ["a & b", "none"]
