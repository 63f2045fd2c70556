"""The check report as one self-contained HTML page: no network, no script, thumbnails inside."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from bundle_runtime.figures.panels import COLOURS
from custom_components.tumour_labels import TISSUES

from .check_report import CaseReport
from .planes import Plane

_HEIGHT = 176  # pixels of a thumbnail
_COLOURS = np.round(255 * np.array(COLOURS)[:, :3]).astype(np.uint8)  # a class has one colour in all pictures
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d5dae0; vertical-align: top; }
.error { color: #b3261e; } .warning { color: #8a5a00; } .ok { color: #1a6e37; }
figure { display: inline-block; margin: .6rem .6rem 0 0; background: #000; border-radius: 4px; overflow: hidden; }
figcaption { background: #fff; padding: .2rem .1rem; overflow-wrap: anywhere; max-width: 34rem; }
img { display: block; }
"""


def render(result: dict[str, Any], reports: Sequence[CaseReport]) -> str:
    """Build the page.

    Args:
        result: the content of `check.json`.
        reports: the cases, with their planes.
    """
    counts = f"{len(reports)} cases, {result['errors']} error(s), {result['warnings']} warning(s)"
    head = ("section", "case", "shape (RAS)", "spacing mm", "axes as stored", "range", "labels", "verdict")
    rows = []
    for report in reports:
        kind = "error" if report.failed else "warning" if report.problems else "ok"
        cells = [report.section, report.case, *report.columns()]
        body = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[:-1])
        rows.append(f'<tr>{body}<td class="{kind}">{html.escape(cells[-1])}</td></tr>')
    problems = "".join(
        f'<li class="{entry["level"]}">{entry["level"]}: '
        f"{html.escape(entry['file'] + ': ' if entry['file'] else '')}{html.escape(entry['message'])}</li>"
        for entry in result["problems"]
    )
    figures = "".join(_figure(report) for report in reports if report.planes)
    title = html.escape(f"Check of {result['datalist']}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{html.escape(str(result['modality'] or 'modality not stated'))}; {counts}.</p>"
        f"{_legend(result)}{f'<ul>{problems}</ul>' if problems else ''}<table><tr>"
        + "".join(f"<th>{cell}</th>" for cell in head)
        + f"</tr>{''.join(rows)}</table>"
        + "<p>Each row: sagittal, coronal and axial plane through the middle of the labelled region or volume; "
        + "the patient's right is on the left, grey levels from the 1st to the 99th percentile.</p>"
        + f"{figures}</body></html>\n"
    )


def _legend(result: dict[str, Any]) -> str:
    """What the outlines mean: tissues where a label convention is declared, else classes with their values."""
    if result["conventions"]:
        names = list(enumerate(TISSUES))[1:]
        conventions = "".join(f"<p>Labels: {html.escape(text)}</p>" for text in result["conventions"])
        texts = [(code, name) for code, name in names if any(f" {name}" in text for text in result["conventions"])]
    else:
        conventions = ""
        texts = [(value, f"{value} {name}") for value, name in enumerate(result["class_names"] or [])]
    return f"<p>{', '.join(_swatch(value) + html.escape(text) for value, text in texts)}</p>{conventions}"


def _swatch(value: int) -> str:
    """A square in the colour of a value's outline; nothing for the background."""
    if value == 0:
        return ""
    red, green, blue = _COLOURS[(value - 1) % len(_COLOURS)]
    return f'<span style="color:rgb({red},{green},{blue})">&#9632;</span>&nbsp;'


def _figure(report: CaseReport) -> str:
    tiles = [_tile(plane) for plane in report.planes]
    gap = np.zeros((_HEIGHT, 4, 3), dtype=np.uint8)
    strip = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    name = html.escape(f"{report.section}: {report.case}", quote=True)
    return f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>'


def _tile(plane: Plane) -> np.ndarray:
    """One plane as RGB (_HEIGHT, width, 3) with square pixels and the outline of each label."""
    rows, label, ratio = plane
    grey = np.nan_to_num(rows.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = np.percentile(grey, (1, 99))
    grey = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1) * 255
    height, width = rows.shape[0] * ratio, rows.shape[1]
    scale = min(_HEIGHT / height, 1.5 * _HEIGHT / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    picture = np.repeat(picture[..., None], 3, axis=2)
    if label is not None:
        drawn = np.asarray(Image.fromarray(label.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
        edge = find_boundaries(drawn, mode="inner") & (drawn > 0)
        picture[edge] = _COLOURS[(drawn[edge] - 1) % len(_COLOURS)]
    above = (_HEIGHT - size[1]) // 2
    return np.pad(picture, ((above, _HEIGHT - size[1] - above), (0, 0), (0, 0)))
