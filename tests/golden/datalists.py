"""The datalist that every source writes of a small copy of its layout, through the command line."""

import contextlib
import json
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .collect import drawn
from .draw_trees import TREES


def made_by(source: str, folder: Path) -> dict[str, Any]:
    """What a source writes for each of its command lines, and the pictures that it makes, by path.

    Args:
        source: its name.
        folder: empty; the layout is drawn into `folder/<source>`.
    """
    tree = TREES[source]
    root = folder / source
    root.mkdir()
    tree.draw(root)
    given = set(root.rglob("*"))
    found: dict[str, Any] = {}
    for arguments in tree.commands:
        out = root / "made.json"
        with _inside(root):
            _tools("datalist", source, ".", *arguments, "--out", "made.json")
        found[" ".join(arguments) or "plain"] = _shared(json.loads(out.read_text()), root)
        out.unlink()
    pictures = {
        path.relative_to(root).as_posix(): drawn(np.asarray(Image.open(path)))
        for path in sorted(set(root.rglob("*.png")) - given)
    }
    return {**found, **({"pictures": pictures} if pictures else {})}


def _tools(*arguments: str) -> None:
    """`python -m mae_tools ...` without the seconds that a new process takes to import."""
    before, hook = sys.argv, sys.excepthook
    sys.argv = ["mae_tools", *arguments]
    try:
        runpy.run_module("mae_tools", run_name="__main__", alter_sys=True)
    finally:
        sys.argv, sys.excepthook = before, hook


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _shared(datalist: dict[str, Any], root: Path) -> dict[str, Any]:
    """A datalist whose items are columns, which takes less room: key -> values by item, lists of each as one text."""
    result = dict(datalist)
    for part in ("training", "validation", "test"):
        items = datalist[part]
        keys = sorted({key for item in items for key in item})
        result[part] = {key: [_text(item.get(key)) for item in items] for key in keys}
    return json.loads(json.dumps(result).replace(f"{root}/", ""))


def _text(value: Any) -> Any:
    """A list of 0, 1 and nothing as `01-`, another one with spaces, a table as JSON; all else as it is."""
    if isinstance(value, dict):
        return json.dumps(value)
    if not isinstance(value, list):
        return value
    flags = all(part in (0, 1, None) for part in value)
    return "".join("-" if part is None else str(part) for part in value) if flags else " ".join(map(str, value))
