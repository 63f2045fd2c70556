"""HTML pages that need nothing else: no network, no script, pictures inside. One template for all, names escaped."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ..files import write_atomically

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


class Figure(NamedTuple):
    """A picture of a page: what stands below it, the file in it and its kind (png, jpeg)."""

    caption: str
    content: bytes
    kind: str = "png"

    @property
    def source(self) -> Markup:
        """The picture as a `data:` address."""
        return Markup(f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode('ascii')}")


class Table(NamedTuple):
    """A table of a page; cells of a column "verdict" are coloured by the words error and warning."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    caption: str = ""


class Part(NamedTuple):
    """A part of a page, in this order.

    Attributes:
        title: stands above it.
        notes: paragraphs.
        points: of a list, each with its level (error, warning, ok or "").
        tables: of cells.
        texts: as they are, in a fixed pitch.
        figures: side by side while there is room.
        folded: only the title is seen until somebody opens it.
    """

    title: str = ""
    notes: Sequence[str] = ()
    points: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    texts: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    folded: bool = False


def write_page(path: Path, title: str, parts: Sequence[Part]) -> Path:
    """Write a page, atomically."""
    return write_atomically(path, _TEMPLATES.get_template("page.html.j2").render(title=title, parts=parts))


def thumbnail(pixels: np.ndarray, side: int, kind: str = "jpeg") -> bytes:
    """uint8 (1 or 3, H, W) -> JPEG or PNG whose longer side is at most `side`."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, format=kind, quality=85)
    return stream.getvalue()
