"""What is kept of a run: numbers, names and digests; no times, versions, places or sentences."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image
from safetensors.numpy import load_file

# Where a value came from and what is said of it may change with the house; the value may not. Times always change.
_LEFT_OUT = {
    "header", "policy", "reason", "definition", "note", "notes", "model_file", "model_sha256", "versions", "seconds",
    "description", "share_of_epoch",
}  # fmt: skip
_JSON = ("scores.json", "probe.json", "froc.json", "thresholds.json", "failures.json")
_FIGURES = {"pictures", "tensorboard"}


def collect(folder: Path) -> dict[str, Any]:
    """All results below a folder by their path: tables, scores, weights, label maps and other arrays, outlines."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if _FIGURES.intersection(name.parts):
            continue
        content = _read(path, folder.parent)
        if content is not None:
            found[name.as_posix()] = content
    return found


def _read(path: Path, root: Path) -> Any:
    """The content of a result, None for a file that is none."""
    if path.suffix == ".csv":
        return _table(path, root)
    if path.name in _JSON or path.suffix == ".geojson":
        return _plain(json.loads(path.read_text()), root)
    if path.suffix == ".safetensors":
        return {"weights": {name: _sums(_learnt(name, values)) for name, values in sorted(load_file(path).items())}}
    if path.name.endswith(".nii.gz"):
        image = nib.load(path)
        return {"affine": _plain(image.affine.tolist(), root), **array(np.asarray(image.dataobj))}
    if path.suffix == ".tif":
        return array(tifffile.imread(path))
    if path.suffix == ".png" and Image.open(path).mode in ("L", "P", "I;16", "I"):
        return array(np.asarray(Image.open(path)))
    return None


def drawn(values: np.ndarray) -> dict[str, Any]:
    """Shape and type of what no network made; of whole numbers the count of each (of the first twenty) and a digest."""
    if values.dtype.kind == "f":
        return array(values)
    levels, counts = np.unique(values, return_counts=True)
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
    counted = dict(zip(map(str, levels[:20]), map(int, counts), strict=False))
    return {"shape": list(values.shape), "dtype": str(values.dtype), "counts": counted, "sha256": digest}


def array(values: np.ndarray) -> dict[str, Any]:
    """Shape and type; of whole numbers how much the first twenty take and where they lie, else sums."""
    about: dict[str, Any] = {"shape": list(values.shape), "dtype": str(values.dtype)}
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        return {**about, "finite": int(finite.size), "weights": {"values": _sums(finite)}}
    levels = np.unique(values)
    return {**about, "levels": len(levels), "shares": {str(level): _place(values == level) for level in levels[:20]}}


def _place(mask: np.ndarray) -> list[float]:
    """Share of all elements, and along each axis the sum of their places: 1 where a mask of all lay at the far end."""
    places = np.argwhere(mask) / np.maximum(np.array(mask.shape) - 1, 1)
    return [_rounded(value) for value in (mask.mean(), *(places.sum(0) / mask.size))]


def _learnt(name: str, values: np.ndarray) -> np.ndarray:
    """Without the keys' part of a joint bias: a softmax over keys takes it out, so that its gradient is rounding alone.

    AdamW makes whole steps of that, and each processor rounds in its own way.
    """
    if not name.endswith("attn.qkv.bias"):
        return values
    query, _, value = np.split(values, 3)
    return np.concatenate([query, value])


def _sums(values: np.ndarray) -> list[float]:
    """Sum and sum of absolute values."""
    exact = values.astype(np.float64)
    return [_rounded(float(exact.sum())), _rounded(float(np.abs(exact).sum()))]


def _table(path: Path, root: Path) -> dict[str, list[Any]]:
    """Columns of a table behind its comment lines."""
    with path.open() as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    columns = {name: [_cell(row[name], root) for row in rows] for name in (rows[0] if rows else ())}
    return {name: cells for name, cells in columns.items() if name not in _LEFT_OUT}


def _cell(text: str, root: Path) -> Any:
    for kind in (int, float):
        try:
            return _plain(kind(text), root)
        except ValueError:
            continue
    return _plain(text, root)


def _plain(value: Any, root: Path) -> Any:
    """Without what is left out, numbers to seven digits, places from the run's folder on."""
    if isinstance(value, dict):
        return {key: _plain(part, root) for key, part in value.items() if key not in _LEFT_OUT}
    if isinstance(value, list):
        return [_plain(part, root) for part in value]
    if isinstance(value, float):
        return _rounded(value)
    return value.replace(f"{root}/", "") if isinstance(value, str) else value


def _rounded(value: float) -> float | str:
    """Seven digits; what JSON cannot say, as a text."""
    return float(f"{value:.7g}") if np.isfinite(value) else str(value)
