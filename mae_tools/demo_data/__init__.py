"""Seeded data sets, drawn and not scanned, that let every bundle run without a download."""

from .abdomen import ABDOMEN_CLASS_NAMES, make_abdomen
from .heads import make_heads
from .histology import make_histology
from .lesions import make_lesions
from .radiographs import make_radiographs

__all__ = ["ABDOMEN_CLASS_NAMES", "make_abdomen", "make_heads", "make_histology", "make_lesions", "make_radiographs"]
