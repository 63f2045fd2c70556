"""The report on lists of pictures as one self-contained HTML page: no network, no script, thumbnails inside."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.verify_pictures import Seen

from .check_html import STYLE


def render(
    result: dict[str, Any],
    tables: Sequence[Sequence[Sequence[str]]],
    thumbnails: Sequence[tuple[str, Seen, str]],
) -> str:
    """Build the page.

    Args:
        result: the content of `check.json`.
        tables: rows of cells, header first.
        thumbnails: files, what they hold and the names of their classes; those that cannot be read have no picture.
    """
    title = html.escape(f"Check of {result['datalist']}")
    images = sum(entry["images"] for entry in result["lists"].values())
    counts = f"{images} images, {result['errors']} error(s), {result['warnings']} warning(s)"
    about = html.escape(f"{result['modality'] or 'modality not stated'}; {result['task'] or 'no task'}; {counts}.")
    problems = "".join(
        f'<li class="{entry["level"]}">{entry["level"]}: '
        f"{html.escape(entry['file'] + ': ' if entry['file'] else '')}{html.escape(entry['message'])}</li>"
        for entry in result["problems"]
    )
    figures = "".join(_figure(file, seen, classes) for file, seen, classes in thumbnails if seen.thumbnail)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><p>{about}</p><ul>{problems}</ul>"
        f"{''.join(_table(rows) for rows in tables if rows)}"
        f"<p>Pictures spread evenly over the lists, as decoded, before any equalisation.</p>{figures}</body></html>\n"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(file: str, seen: Seen, classes: str) -> str:
    data = base64.b64encode(seen.thumbnail).decode("ascii")
    said = f"{classes}; " if classes else ""
    name = html.escape(f"{Path(file).name}: {said}{seen.kind}, {seen.height}x{seen.width}", quote=True)
    return (
        f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}">'
        f'<figcaption style="max-width: 10rem">{name}</figcaption></figure>'
    )
