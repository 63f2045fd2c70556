"""Data set layouts: each function looks at a folder and writes the datalist of what it finds there."""

from collections.abc import Callable
from typing import Any

from .brats import brats
from .btcv import btcv
from .class_folder import class_folder
from .cxr14 import CXR14_FINDINGS, cxr14
from .decathlon import decathlon
from .folder import folder
from .msd import msd
from .table import table

SOURCES: dict[str, Callable[..., dict[str, Any]]] = {
    "brats": brats,
    "btcv": btcv,
    "class_folder": class_folder,
    "cxr14": cxr14,
    "decathlon": decathlon,
    "folder": folder,
    "msd": msd,
    "table": table,
}

__all__ = [
    "CXR14_FINDINGS",
    "SOURCES",
    "brats",
    "btcv",
    "class_folder",
    "cxr14",
    "decathlon",
    "folder",
    "msd",
    "table",
]
