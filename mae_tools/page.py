"""HTML pages that need nothing else: no network, no script, pictures inside. One style for all, names escaped."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

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


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder, such as `check/report.html.j2`; each lies beside the module that fills it."""
    return _TEMPLATES.get_template(template).render(**values)
