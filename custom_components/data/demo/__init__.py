"""Synthetic, seeded data sets that let every bundle run without a download; each is labelled synthetic wherever it shows."""

from .abdomen import ABDOMEN_CLASS_NAMES, make_abdomen

__all__ = ["ABDOMEN_CLASS_NAMES", "make_abdomen"]
