"""What every source shares: a seeded split by patient, and the writing of the datalist."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..datalist import write
from ..schema import SECTIONS, Datalist, Item


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in a random order that depends on seed and names alone, on every platform and library version."""
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def split_by_patient(
    entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Item]]:
    """Deal items to training, validation and test so that no patient is in two of them.

    The fractions count patients; from three patients on, a list with a positive fraction gets at least one.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        found = f"val_fraction {val_fraction} and test_fraction {test_fraction}"
        raise InputError(f"{found} must not be negative and must leave something for training.")
    patients = shuffled((item["patient_id"] for item in entries), seed)
    least = 1 if len(patients) >= 3 else 0
    n_test, n_val = (max(round(part * len(patients)), least) if part else 0 for part in (test_fraction, val_fraction))
    if n_test + n_val >= len(patients):  # rounding up must not take the last training patient
        n_test, n_val = min(n_test, least), min(n_val, least)
    section = {
        patient: "test" if rank < n_test else "validation" if rank < n_test + n_val else "training"
        for rank, patient in enumerate(patients)
    }
    return {name: [item for item in entries if section[item["patient_id"]] == name] for name in SECTIONS}


def finish(datalist: Datalist, root: Path, out: str | Path | None) -> dict[str, Any]:
    """Write the datalist (default: `datalist.json` in `root`), say so, and return it."""
    target = Path(out) if out is not None else root / "datalist.json"
    write(target, datalist)
    sizes = ", ".join(f"{section} {len(datalist[section])}" for section in SECTIONS)
    print(f"Wrote {target}: {sizes}.")
    if os.path.abspath(target.parent) != os.path.abspath(root):
        print(f"Its paths start at the data folder: pass --dataset_dir {os.path.abspath(root)} with it.")
    return datalist


def existing_folder(root: str | Path) -> Path:
    """`root` as a path, if it is a folder.

    Raises:
        InputError: it is not.
    """
    path = Path(root)
    if not path.is_dir():
        raise InputError(f"{root} is not a folder; give the folder of the data set.")
    return path


def some(names: Iterable[str], limit: int = 8) -> str:
    """The first names of a long list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
