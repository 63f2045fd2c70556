"""Seeded data sets, drawn and not scanned, that let every bundle run without a download."""

from collections.abc import Callable
from typing import Any

from .abdomen import ABDOMEN_CLASS_NAMES, make_abdomen
from .heads import make_heads
from .histology import make_histology
from .lesions import make_lesions
from .radiographs import make_radiographs
from .slide import make_slides

PAINTERS: dict[str, Callable[..., Any]] = {
    "abdomen": make_abdomen,
    "heads": make_heads,
    "histology": make_histology,
    "lesions": make_lesions,
    "radiographs": make_radiographs,
    "slide": make_slides,
}

__all__ = [
    "ABDOMEN_CLASS_NAMES",
    "PAINTERS",
    "make_abdomen",
    "make_heads",
    "make_histology",
    "make_lesions",
    "make_radiographs",
    "make_slides",
]
