"""Data set layouts: each function looks at a folder and writes the datalist of what it finds there.

To add one, write a module with a function that carries `@source`; every module of this folder is looked at.
"""

import importlib
import pkgutil

from .registry import SOURCES, source

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["SOURCES", "source"]
