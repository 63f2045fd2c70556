"""Data set layouts: each function looks at a folder and writes the datalist of what it finds there."""

from collections.abc import Callable
from typing import Any

from .btcv import btcv
from .decathlon import decathlon
from .folder import folder

SOURCES: dict[str, Callable[..., dict[str, Any]]] = {"btcv": btcv, "decathlon": decathlon, "folder": folder}

__all__ = ["SOURCES", "btcv", "decathlon", "folder"]
