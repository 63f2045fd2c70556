"""Pictures with a CSV table of their labels: one column a finding (multi-label), or one column of classes."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS, Item
from bundle_runtime.data.sequences import patient_of
from bundle_runtime.data.tables import Row, Table, nearest
from custom_components.errors import InputError

from .lists import by_class, common_keys, is_labelled
from .options import name_list
from .pictures import PictureFinder, excluder, own_patient, owners, pictures_in, settle_missing
from .registry import Root, source
from .split import Found, section_name

_VALUES = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}
_UNCERTAIN = {"unknown": None, "positive": 1, "negative": 0}
_MINUS_ONE = {"-1", "-1.0"}


@source(split=by_class)
def table(
    root: Root,
    csv: str | Path,
    path_column: str = "file",
    label_columns: str | Iterable[str] | None = None,
    class_column: str | None = None,
    patient_column: str | None = None,
    patient_pattern: str | None = None,
    split_column: str | None = None,
    class_names: str | Iterable[str] | None = None,
    ordered: bool = False,
    uncertain: str = "unknown",
    drop_unlabelled: bool = False,
    partial: bool = False,
    images: str | Path | None = None,
    modality: str | None = None,
) -> Found:
    """Write the datalist of the pictures that a table names, with their labels, split by patient.

    Args:
        root: the folder of the data set; the pictures may lie anywhere in it.
        csv: the table, a path in `root` or any other.
        path_column: its column of file names or paths; folders in front and the ending may be missing.
        label_columns: multi-label: its columns of 0, 1, -1 (uncertain) and blank (unknown), one a finding.
        class_column: multi-class: its column of class names, in place of `label_columns`.
        patient_column: its column of patients (or lesions, or slides), who are kept together.
        patient_pattern: instead of it, a regular expression whose group is the patient, such as `(patient\\d+)/`; it
            searches the file's name, with a slash in it the path.
        split_column: its column of train, val and test; lists that it does not name are taken out of training.
        class_names: multi-class: the classes in the order wanted (default: sorted).
        ordered: multi-class: the classes are grades, lowest first, which gives a quadratic kappa.
        uncertain: what -1 means: unknown, positive or negative.
        drop_unlabelled: leave out rows without a label; else such rows train (findings) or are refused (classes).
        partial: leave out rows whose picture is missing, and say how many; otherwise that is an error.
        images: the folder in `root` that holds the pictures, where several have files of one name.
        modality: e.g. X-ray, noted in the datalist.

    Raises:
        InputError: table, columns, values, classes, pictures or given lists do not fit; the sentence says which.
    """
    content = root.table(csv)
    labels = _Labels.of(content, label_columns, class_column, class_names, uncertain)
    columns = _Columns.of(content, path_column, patient_column, patient_pattern, split_column)
    rows = _found_rows(content, columns.path, root, images, partial)
    entries, sections = _entries(content, rows, root.path, labels, columns, patient_pattern, drop_unlabelled)
    pairs = list(zip(sections, entries, strict=True))
    given = {part: [entry for name, entry in pairs if name == part] for part in SECTIONS} if columns.split else None
    keys = common_keys(labels.task, labels.names, modality, ordered)
    return Found(entries, given, keys=keys, said=f"{Path(content.path).name}, {{}}")


@dataclass(frozen=True)
class _Columns:
    """Which columns say what is not the label."""

    path: str
    patient: str | None
    split: str | None

    @classmethod
    def of(cls, content: Table, path: str, patient: str | None, pattern: str | None, split: str | None) -> "_Columns":
        if patient is not None and pattern is not None:
            raise InputError("patient_column and patient_pattern are both given; choose one.")
        found = [None if name is None else content.column(str(name), key=key) for name, key in (
            (patient, "patient_column"), (split, "split_column")
        )]  # fmt: skip
        return cls(content.column(str(path), key="path_column"), *found)


@dataclass(frozen=True)
class _Labels:
    """Where the labels of a table stand and how they are read."""

    task: str
    names: list[str]
    columns: list[str]
    uncertain: int | None

    @classmethod
    def of(
        cls,
        content: Table,
        label_columns: str | Iterable[str] | None,
        class_column: str | None,
        class_names: str | Iterable[str] | None,
        uncertain: str,
    ) -> "_Labels":
        if uncertain not in _UNCERTAIN:
            raise InputError(f"uncertain is {uncertain!r}; expected one of {', '.join(_UNCERTAIN)}.")
        if (label_columns is None) == (class_column is None):
            raise InputError(
                f"{content.path}: give either --label_columns (one column a finding) or --class_column (one column of "
                f"class names); the columns are {', '.join(filter(None, content.columns))}."
            )
        if label_columns is not None:
            names = name_list(label_columns, "label_columns")
            columns = [content.column(name, key="label_columns") for name in names]
            return cls("multi_label", columns, columns, _UNCERTAIN[uncertain])
        column = content.column(str(class_column), key="class_column")
        wanted = name_list(class_names, "class_names") if class_names is not None else _spellings(content, column)
        if len(wanted) < 2:
            raise InputError(f"{content.path}: column {column!r} holds {wanted}; expected at least two classes.")
        return cls("multi_class", wanted, [column], None)

    def read(self, content: Table, row: Row) -> int | list[int | None] | None:
        """The label of a row; None for no class.

        Raises:
            InputError: a value that is none of those expected; named by its line and column.
        """
        if self.task == "multi_label":
            return [self._finding(content, row, column) for column in self.columns]
        cell = row.cells[self.columns[0]]
        if cell and cell not in self.names:
            alike = [name for name in self.names if name.casefold() == cell.casefold()]
            known = f"it differs only in case from {alike[0]!r}." if alike else nearest(cell, self.names)
            raise InputError(
                f"{content.path}: line {row.line} has the class {cell!r}, which is not among class_names; {known}"
            )
        return self.names.index(cell) if cell else None

    def _finding(self, content: Table, row: Row, column: str) -> int | None:
        cell = row.cells[column].lower()
        if not cell:
            return None
        if cell in _MINUS_ONE:
            return self.uncertain
        if cell not in _VALUES:
            raise InputError(
                f"{content.path}: line {row.line}, column {column!r} holds {row.cells[column]!r}; expected 0, 1, "
                "-1 (uncertain) or blank (unknown)."
            )
        return _VALUES[cell]


def _spellings(content: Table, column: str) -> list[str]:
    """The different classes of a column, sorted.

    Raises:
        InputError: two of them differ only in case.
    """
    first: dict[str, tuple[str, int]] = {}
    for row in content.rows:
        cell = row.cells[column]
        known, line = first.setdefault(cell.casefold(), (cell, row.line))
        if cell != known:
            raise InputError(
                f"{content.path}: line {row.line} has the class {cell!r} in column {column!r}, which differs only in "
                f"case from {known!r} in line {line}; spell them alike."
            )
    return _sorted_classes(known for known, _ in first.values() if known)


def _sorted_classes(names: Iterable[str]) -> list[str]:
    """Classes by name, or by value where all are whole numbers, so that grade 10 follows grade 9."""
    listed = sorted(names)
    return sorted(listed, key=int) if all(name.lstrip("-").isdecimal() for name in listed) else listed


def _found_rows(
    content: Table, column: str, root: Root, images: str | Path | None, partial: bool
) -> list[tuple[str, Row]]:
    """The rows with the path of their picture from the data folder; an absolute path stays as it is.

    Raises:
        InputError: a picture is missing, unless `partial`, or a path fits several files.
    """
    base, files = root.path, pictures_in(root.files(), root.path, images)
    finder, is_excluded = PictureFinder(files), excluder(root)
    rows, missing = [], []
    for row in content.rows:
        path = row.cells[column]
        found = [path] if os.path.isabs(path) and os.path.isfile(path) else finder.find(path)
        if len(found) > 1:
            raise InputError(
                f"{content.path}: line {row.line} names {path!r}, which fits {some(found, 3)}; name the folder of the "
                "pictures with --images."
            )
        if found:
            rows.append((found[0], row))
        elif not is_excluded(path):
            missing.append(path or f"(blank, line {row.line})")
    settle_missing(missing, len(content.rows), content.path, partial, f"pictures in {base / (images or '')}")
    return rows


def _entries(
    content: Table,
    rows: Sequence[tuple[str, Row]],
    base: Path,
    labels: _Labels,
    columns: _Columns,
    pattern: str | None,
    drop_unlabelled: bool,
) -> tuple[list[Item], list[str]]:
    """Items and the list that each was given ("" without `split_column`), sorted by file."""
    owner = {}
    if columns.patient is None:
        owner = owners([file for file, _ in rows], base, pattern, hint="--patient_column or --patient_pattern")
    made: dict[str, tuple[Item, str, int]] = {}
    unlabelled, ownerless, repeated = 0, 0, 0
    for file, row in rows:
        label = labels.read(content, row)
        item: Item = {"image": file} if label is None else {"image": file, "label": label}
        if not is_labelled(item):
            if labels.task == "multi_class" and not drop_unlabelled:
                raise InputError(
                    f"{content.path}: line {row.line} ({file}) has no class in column {labels.columns[0]!r}; fill it "
                    "in, or leave out such rows with --drop_unlabelled true."
                )
            unlabelled += 1
            if drop_unlabelled:
                continue
        patient = owner.get(file, "") if columns.patient is None else row.cells[columns.patient]
        ownerless += columns.patient is not None and not patient
        item["patient_id"] = patient or patient_of(own_patient(file))
        section = "" if columns.split is None else _section(content, row, columns.split, is_labelled(item))
        before = made.setdefault(file, (item, section, row.line))
        repeated += before[2] != row.line
        if (item, section) != before[:2]:
            raise InputError(
                f"{content.path}: lines {before[2]} and {row.line} say different things of {file}; keep one of them."
            )
    _say(len(rows), unlabelled, drop_unlabelled, ownerless, repeated)
    kept = [made[file] for file in sorted(made)]
    _check_labelled(content, labels, [item for item, _, _ in kept])
    return [item for item, _, _ in kept], [section for _, section, _ in kept]


def _section(content: Table, row: Row, column: str, labelled: bool) -> str:
    """The list of a row; a row without any label may leave it open, and then trains."""
    cell = row.cells[column]
    if not cell and not labelled:
        return "training"
    name = section_name(cell)
    if name is None:
        raise InputError(
            f"{content.path}: line {row.line}, column {column!r} holds {cell!r}; expected train, val or test."
        )
    return name


def _say(rows: int, unlabelled: int, dropped: bool, ownerless: int, repeated: int) -> None:
    if repeated:
        print(f"{repeated} of {rows} rows repeat another and are left out.")
    if ownerless:
        print(f"{ownerless} of {rows} rows name no patient; each of them counts as a patient of its own.")
    if unlabelled:
        what = "are left out" if dropped else "stay for pre-training; --drop_unlabelled true leaves them out"
        print(f"{unlabelled} of {rows} rows have no label and {what}.")


def _check_labelled(content: Table, labels: _Labels, entries: Sequence[Item]) -> None:
    """Refuse a table without any label, and classes that cannot be in two lists."""
    if not any(map(is_labelled, entries)):
        raise InputError(f"{content.path}: no row has a label in {some(labels.columns)}; name other columns.")
    if labels.task == "multi_class":
        counts = Counter(item["label"] for item in entries)
        few = [f"{name} (1)" for index, name in enumerate(labels.names) if counts[index] == 1]
        if few:
            raise InputError(
                f"{content.path}: too few pictures of class {some(few)}; expected at least two of each class."
            )
