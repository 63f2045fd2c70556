"""Data set layouts: each function looks at a folder and writes the datalist of what it finds there."""

from collections.abc import Callable
from typing import Any

from .brats import brats
from .btcv import btcv
from .busi import busi
from .chest2017 import chest2017
from .class_folder import class_folder
from .cxr14 import CXR14_FINDINGS, cxr14
from .decathlon import decathlon
from .deeplesion import deeplesion
from .folder import folder
from .glas import glas
from .messidor2 import messidor2
from .monuseg import monuseg
from .msd import msd
from .nct_crc import nct_crc
from .pcam import pcam
from .table import table
from .tiles_masks import tiles_masks

SOURCES: dict[str, Callable[..., dict[str, Any]]] = {
    "brats": brats,
    "btcv": btcv,
    "busi": busi,
    "chest2017": chest2017,
    "class_folder": class_folder,
    "cxr14": cxr14,
    "decathlon": decathlon,
    "deeplesion": deeplesion,
    "folder": folder,
    "glas": glas,
    "messidor2": messidor2,
    "monuseg": monuseg,
    "msd": msd,
    "nct_crc": nct_crc,
    "pcam": pcam,
    "table": table,
    "tiles_masks": tiles_masks,
}

__all__ = [
    "CXR14_FINDINGS",
    "SOURCES",
    "brats",
    "btcv",
    "busi",
    "chest2017",
    "class_folder",
    "cxr14",
    "decathlon",
    "deeplesion",
    "folder",
    "glas",
    "messidor2",
    "monuseg",
    "msd",
    "nct_crc",
    "pcam",
    "table",
    "tiles_masks",
]
