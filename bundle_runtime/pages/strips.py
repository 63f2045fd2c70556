"""A drawing of what single cases scored, class by class."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import escape

from .page import Figure

_LINE, _LEFT, _WIDTH, _RIGHT = 26, 190, 520, 30  # pixels: height of a class, its name, the scale, what follows it


def strips(values: Mapping[str, Sequence[float]], caption: str) -> Figure:
    """A line a class on a scale from 0 to 1: a dot a case, darker where many lie, and a stroke at their mean.

    Args:
        values: by class, what its cases scored; NaN is left out.
        caption: stands below.
    """
    parts = []
    for row, (name, numbers) in enumerate(values.items()):
        y = (row + 0.5) * _LINE
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_LEFT + _WIDTH}" y2="{y}" stroke="#d5dae0"/>')
        places = [round(_LEFT + _WIDTH * number, 1) for number in numbers if math.isfinite(number)]
        parts += [f'<circle cx="{x}" cy="{y}" r="5" fill="#1f6fb2" fill-opacity=".35"/>' for x in places]
        if places:
            mean = f"M{sum(places) / len(places):.1f} {y - 9}v18"
            parts.append(f'<path d="{mean}" stroke="#b3261e" stroke-width="2"/>')
    bottom = len(values) * _LINE
    for tick in range(0, 11, 2):
        x = _LEFT + _WIDTH * tick / 10
        parts.append(f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{tick / 10:g}</text>')
    size = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{bottom + 20}"'
    style = 'font-family="sans-serif" font-size="13" fill="#1b1f24"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>'
    return Figure(caption, svg.encode(), "svg+xml")
