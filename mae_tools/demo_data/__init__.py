"""Small seeded data sets, drawn and not scanned, that let every bundle run without a download.

Simple shapes carry the class. There are many images; a demo pre-trains on all and trains with the labels of few.
"""

from collections.abc import Callable
from typing import Any

from .abdomen import make_abdomen
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

__all__ = ["PAINTERS", *(painter.__name__ for painter in PAINTERS.values())]
