"""Golden files: how they are written, and how a run is compared with one."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# Another processor adds in another order: sums of float32 then differ in the last digits, and training carries that on.
RELATIVE, ABSOLUTE = 1e-3, 1e-5
ELEMENTS = 2e-3  # share of the voxels of a predicted map that another processor may decide the other way
_WIDTH = 118


def read(name: str) -> Any:
    """The golden content of a bundle, or of the datalists."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def write(name: str, content: Any) -> Path:
    """Replace a golden file."""
    path = FOLDER / f"{name}.json"
    path.write_text(_text(content) + "\n")
    return path


def differences(golden: Any, found: Any, path: str = "") -> Iterator[str]:
    """Every place where two contents differ, with its path and both values."""
    if isinstance(golden, dict) and isinstance(found, dict):
        for key in golden | found:
            if key == "id":  # of a found region: a digest of its measurements with all their digits
                continue
            if key not in found:
                yield f"{path}/{key}: is missing"
            elif key not in golden:
                yield f"{path}/{key}: is new"
            elif key == "shares":
                yield from _shares(golden[key], found[key], f"{path}/{key}")
            elif key == "weights":
                yield from _weights(golden[key], found[key], f"{path}/{key}")
            else:
                yield from differences(golden[key], found[key], f"{path}/{key}")
    elif isinstance(golden, list) and isinstance(found, list):
        if len(golden) != len(found):
            yield f"{path}: {len(golden)} entries, found {len(found)}"
        for index, (one, other) in enumerate(zip(golden, found, strict=False)):
            yield from differences(one, other, f"{path}[{index}]")
    elif not _equal(golden, found):
        yield f"{path}: {golden!r}, found {found!r}"


def _weights(golden: dict[str, list[float]], found: dict[str, list[float]], path: str) -> Iterator[str]:
    """Sums and absolute sums of tensors; what cancels in a sum makes it no less exact than the absolute sum."""
    yield from (f"{path}/{name}: is missing" for name in golden.keys() - found.keys())
    yield from (f"{path}/{name}: is new" for name in found.keys() - golden.keys())
    for name in golden.keys() & found.keys():
        scale = max(golden[name][1], found[name][1])
        if not all(abs(a - b) <= RELATIVE * scale + ABSOLUTE for a, b in zip(golden[name], found[name], strict=True)):
            yield f"{path}/{name}: {golden[name]}, found {found[name]}"


def _shares(golden: dict[str, list[float]], found: dict[str, list[float]], path: str) -> Iterator[str]:
    for level in golden | found:
        one, other = (values.get(level, [0.0]) for values in (golden, found))
        if any(abs(a - b) > ELEMENTS for a, b in itertools.zip_longest(one, other, fillvalue=0.0)):
            yield f"{path}/{level}: {one}, found {other}"


def _equal(one: Any, other: Any) -> bool:
    """Whole numbers, texts, truth values and nothing exactly; numbers of which one is not whole nearly."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    if numbers and float in (type(one), type(other)):
        return abs(one - other) <= RELATIVE * max(abs(one), abs(other)) + ABSOLUTE
    return type(one) is type(other) and one == other


def _text(value: Any, indent: int = 0) -> str:
    """JSON that breaks only what does not fit into a line; long lists of plain values fill lines."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) + indent <= _WIDTH or not isinstance(value, dict | list):
        return short
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {_text(part, indent + 1)}" for key, part in value.items()
        ]  # fmt: skip
        return "{\n" + ",\n".join(inner + part for part in parts) + "\n" + " " * indent + "}"
    if any(isinstance(part, dict | list) for part in value):
        return "[\n" + ",\n".join(inner + _text(part, indent + 1) for part in value) + "\n" + " " * indent + "]"
    lines = [""]
    for part in value:
        word = json.dumps(part, ensure_ascii=False)
        if lines[-1] and len(lines[-1]) + len(word) + indent + 4 > _WIDTH:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word + ","
    return "[\n" + "\n".join(inner + line for line in lines).removesuffix(",") + "\n" + " " * indent + "]"
