"""Scores as tables: whatever `scores.json` and `froc.json` hold, every number of it once."""

from collections.abc import Mapping
from typing import Any

from .page import Table

_NOT_SCORES = ("header", "notes", "warnings", "unlearnt", "policy")
# What keys of the files, and words of others, are called on a page; tumour regions and lesions are no organs.
_KEYS = {
    "sensitivity_90": "sensitivity at 90 % specificity", "sensitivity_95": "sensitivity at 95 % specificity",
    "interval_95": "95 % interval", "score": "FROC score",
}  # fmt: skip
_WORDS = {
    "organs": "structures", "dice": "Dice", "hd95": "HD95", "iou": "IoU", "aji": "AJI", "pq": "PQ", "sq": "SQ",
    "auc": "AUC", "ece": "ECE", "f1": "F1", "ml": "mL",
}  # fmt: skip
_COLUMNS = 6  # of a line a name; where there are more, and fewer names, each name is a column


def score_tables(scores: Mapping[str, Any]) -> tuple[list[Table], list[Table]]:
    """A table for each table-like entry, and one of all that are single values.

    An estimate (mean, low, high) is one cell, `0.812 [0.774, 0.851]`, with the number of cases where it is known.

    Returns:
        Those with intervals (where there is none: the single values), and the others.
    """
    single: list[list[str]] = []
    found: list[Table] = []
    for key, value in scores.items():
        title = _words(key)
        if key in _NOT_SCORES or value is None or value == {}:
            continue
        if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
            found.append(_matrix(title, value, scores.get("class_names", ())))
        elif not isinstance(value, Mapping) or is_estimate(value):
            single.append([title, shown(value)])
        elif all(isinstance(entry, Mapping) and not is_estimate(entry) for entry in value.values()):
            found += _by_name(title, value)
        else:
            found.append(Table([list(pair) for pair in _cells(value).items()], caption=title))
    found += [Table(single, caption="in all")] if single else []
    first = [table for table in found if any("[" in cell for row in table.rows for cell in row)] or found[-1:]
    return first, [table for table in found if table not in first]


def is_estimate(value: Any) -> bool:
    """Whether a value is a mean with its interval."""
    return isinstance(value, Mapping) and {"mean", "low", "high"} <= set(value)


def shown(value: Any) -> str:
    """A value as a cell."""
    if is_estimate(value):
        mean, low, high = (shown(value[key]) for key in ("mean", "low", "high"))
        return f"{mean} [{low}, {high}]" + (f", n {value['n']}" if "n" in value else "")
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cells(value: Any, name: str = "") -> dict[str, str]:
    """The leaves of a nested mapping by their path, in words."""
    if not isinstance(value, Mapping) or is_estimate(value):
        return {name: shown(value)}
    return {
        path: cell
        for key, entry in value.items()
        for path, cell in _cells(entry, f"{name}: {_words(key)}" if name else _words(key)).items()
    }


def _by_name(title: str, value: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """A line a name, what has an interval in a table of its own."""
    lines = {name: _cells(entry) for name, entry in value.items()}
    columns = list(dict.fromkeys(column for line in lines.values() for column in line))
    with_interval = [column for column in columns if any("[" in line.get(column, "") for line in lines.values())]
    tables = []
    for part in (with_interval, [column for column in columns if column not in with_interval]):
        if part:
            rows = [["", *part], *([name, *(line.get(column, "") for column in part)] for name, line in lines.items())]
            if len(part) > max(_COLUMNS, len(lines)):
                rows = list(map(list, zip(*rows, strict=True)))
            tables.append(Table(rows[1:], rows[0], title))
    return tables


def _matrix(title: str, rows: list[list[Any]], names: Any) -> Table:
    """A square of numbers, such as the confusion matrix: a line a true class."""
    if len(names) != len(rows):
        return Table([[shown(cell) for cell in row] for row in rows], caption=title)
    lines = [[f"labelled {name}", *map(shown, row)] for name, row in zip(names, rows, strict=True)]
    return Table(lines, ["", *(f"predicted {name}" for name in names)], title)


def _words(key: str) -> str:
    return _KEYS.get(key) or " ".join(_WORDS.get(word, word) for word in str(key).split("_"))
