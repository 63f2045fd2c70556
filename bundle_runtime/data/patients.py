"""Whose image a case is: the table of patients that a user may give."""

import csv
from collections.abc import Sequence
from pathlib import Path

from custom_components.errors import InputError

from .find import some
from .sequences import file_stem


def read_patients(path: str | Path | None, cases: Sequence[str]) -> dict[str, str]:
    """Case -> patient from a CSV with the columns `case` and `patient_id`; {} without one.

    Raises:
        InputError: unreadable, without these columns, or a case is not named in it.
    """
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the patient table cannot be read ({error}).") from error
    if not rows or not {"case", "patient_id"} <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "nothing"
        raise InputError(f"{path}: the patient table needs the columns case and patient_id; found {found}.")
    named = [row for row in rows if row["case"] and row["patient_id"]]
    owner = {name: row["patient_id"] for row in named for name in (row["case"], file_stem(row["case"]))}
    absent = [case for case in cases if case not in owner]
    if absent:
        raise InputError(f"{path}: names no patient for {some(absent)}; add a row for each case.")
    return owner
