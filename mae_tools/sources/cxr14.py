"""NIH ChestX-ray14: 112,120 frontal radiographs of 30,805 patients with 14 findings, and NIH's own test list.

The papers looked at the test list in every epoch; here a part of `train_val` selects, and the test list is read once.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from bundle_runtime.data.tables import Row, Table, nearest, plain
from custom_components.errors import InputError

from .lists import by_class, classes_of, common_keys, refuse_counts
from .pictures import excluder, pictures_in, settle_missing
from .registry import Root, source
from .split import Found

# Positives in train_val and in test, of the release's own table and lists.
_POSITIVES = {
    "Atelectasis": (8280, 3279),
    "Cardiomegaly": (1707, 1069),
    "Effusion": (8659, 4658),
    "Infiltration": (13782, 6112),
    "Mass": (4034, 1748),
    "Nodule": (4708, 1623),
    "Pneumonia": (876, 555),
    "Pneumothorax": (2637, 2665),
    "Consolidation": (2852, 1815),
    "Edema": (1378, 925),
    "Emphysema": (1423, 1093),
    "Fibrosis": (1251, 435),
    "Pleural_Thickening": (2242, 1143),
    "Hernia": (141, 86),
}
_IMAGES = (86524, 25596)
_PATIENTS = (28008, 2797)
_NO_FINDING = (50500, 9861)
_LISTS = ("train_val", "test")

CXR14_FINDINGS = tuple(_POSITIVES)
_SPELLINGS = {plain(name): name for name in CXR14_FINDINGS}


@source
def cxr14(
    root: Root,
    csv: str | Path | None = None,
    images: str | Path | None = None,
    val_fraction: float = 0.1,
    crossing: str = "refuse",
    seed: int = 0,
    parity: bool = False,
    counts: bool = True,
    partial: bool = False,
) -> Found:
    """Write the datalist of the NIH release: PNG files in any subfolders, `Data_Entry_2017*.csv` and the two lists.

    The lists are `train_val_list.txt` and `test_list.txt`. The 25,596 test images stay the test list; validation is
    taken out of train_val by patient.

    Args:
        root: the folder that holds all of it.
        csv: the table, a path in `root` or any other (default: the only `Data_Entry_2017*.csv`).
        images: the folder in `root` that holds the pictures, where copies of another size lie in others.
        val_fraction: share of the train_val patients that selects.
        crossing: patients in train_val and in test: refuse them, drop what trains of them, or keep the lists.
        seed: chooses who selects.
        parity: the papers' own use: all of train_val trains, and the test list also selects.
        counts: check images, patients and positives of each finding against the published ones; false for a subset.
        partial: leave out images that are not there, and say how many; otherwise that is an error.

    Raises:
        InputError: a file is missing, counts differ, an image is in both lists or in none, an unknown finding, or a
            patient in train_val and in test.
    """
    base = root.path
    files = root.files()
    content = Table(_table_path(base, files, csv))
    rows = _read_rows(content)
    names = {part: _read_list(base, files, part) for part in _LISTS}
    names = _joined(content, rows, names, partial)
    listed = {part: [rows[name] for name in names[part]] for part in _LISTS}
    if counts:
        _check_counts(content, listed)
    places, is_excluded = _places(pictures_in(files, base, images), rows), excluder(root)
    wanted = {part: [name for name in names[part] if name in places or not is_excluded(name)] for part in _LISTS}
    for part in _LISTS:
        missing = [name for name in wanted[part] if name not in places]
        settle_missing(missing, len(wanted[part]), base, partial, "pictures of a list")
    train_val, test = (
        [{**rows[name], "image": places[name]} for name in wanted[part] if name in places] for part in _LISTS
    )
    found = Found(given={"training": train_val, "validation": [], "test": test})
    lists, _ = by_class(found, val_fraction, 0, crossing=crossing, seed=seed, parity=parity)
    said = f"NIH's test list; validation taken out of train_val by patient (seed {seed})"
    if parity:
        said = "all of train_val trains, and the test list also selects, as in the papers"
    return Found(given=lists, keys=common_keys("multi_label", CXR14_FINDINGS, "X-ray"), said=said)


def _table_path(base: Path, files: Sequence[str], csv: str | Path | None) -> Path:
    if csv is not None:
        return base / csv if (base / csv).is_file() else Path(csv)
    return base / _only(base, files, r"data_entry_2017.*\.csv", "Data_Entry_2017*.csv", "; name it with --csv")


def _only(base: Path, files: Sequence[str], pattern: str, expected: str, advice: str = "") -> str:
    """The one file whose name fits a pattern.

    Raises:
        InputError: none, or several.
    """
    found = [file for file in files if re.fullmatch(pattern, _name(file), re.IGNORECASE)]
    if len(found) != 1:
        text = f"holds several files {expected}: {some(found)}" if found else f"holds no file {expected}"
        raise InputError(f"{base} {text}; expected one{advice}.")
    return found[0]


def _read_list(base: Path, files: Sequence[str], part: str) -> list[str]:
    """The image names of `train_val_list.txt` or `test_list.txt`, one a line."""
    pattern = {"train_val": r"train_?val_list.*\.txt", "test": r"test_list.*\.txt"}[part]
    path = base / _only(base, files, pattern, f"{part}_list.txt")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list cannot be read ({error}).") from error
    names = [_name(line.split()[0]) for line in lines if line.strip()]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if not names or repeated:
        found = f"names {len(repeated)} image(s) twice: {some(repeated)}" if repeated else "is empty"
        raise InputError(f"{path}: {found}; expected each image name on a line of its own, once.")
    return names


def _read_rows(content: Table) -> dict[str, Item]:
    """Image name -> its findings and its patient.

    Raises:
        InputError: a column is missing, an unknown finding, no patient, or two rows that disagree about an image.
    """
    image = content.column("Image Index", "Image")
    findings = content.column("Finding Labels", "Finding Label", "Labels")
    patient = content.column("Patient ID", "Patient")
    rows: dict[str, Item] = {}
    for row in content.rows:
        name = _name(row.cells[image])
        item = {"label": _findings(content, row, findings), "patient_id": row.cells[patient]}
        if not name or not item["patient_id"]:
            raise InputError(f"{content.path}: line {row.line} lacks the image's name or its patient; fill them in.")
        if rows.setdefault(name, item) != item:
            raise InputError(f"{content.path}: two rows say different things of {name}; keep one of them.")
    if len(rows) < len(content.rows):
        print(f"{len(content.rows) - len(rows)} rows of {content.path} repeat another and are left out.")
    return rows


def _findings(content: Table, row: Row, column: str) -> list[int]:
    """`Effusion|Pleural_Thickening` as 0 and 1 in the order of `CXR14_FINDINGS`."""
    named = [name.strip() for name in row.cells[column].split("|")]
    if [plain(name) for name in named] in (["nofinding"], ["nofindings"]):
        return [0] * len(CXR14_FINDINGS)
    for name in named:
        if plain(name) not in _SPELLINGS:
            near = nearest(name, [*CXR14_FINDINGS, "No Finding"])
            raise InputError(
                f"{content.path}: line {row.line}, column {column!r} names {name!r}, which is none of the 14 findings "
                f"and not 'No Finding' alone; {near}"
            )
    positive = {_SPELLINGS[plain(name)] for name in named}
    return [int(finding in positive) for finding in CXR14_FINDINGS]


def _joined(
    content: Table, rows: Mapping[str, Item], names: Mapping[str, list[str]], partial: bool
) -> dict[str, list[str]]:
    """The names of each list that have a row in the table.

    Raises:
        InputError: an image in both lists; one with a row and no list, or a list and no row, unless `partial`.
    """
    both = sorted(set(names["train_val"]) & set(names["test"]))
    if both:
        raise InputError(
            f"{len(both)} image(s) are in train_val_list.txt and in test_list.txt: {some(both)}; keep each in one."
        )
    listed = set(names["train_val"]) | set(names["test"])
    for lost, what in (
        (sorted(set(rows) - listed), f"{len(rows)} images of {content.path} are in neither list"),
        (sorted(listed - set(rows)), f"{len(listed)} listed images have no row in {content.path}"),
    ):
        if lost and not partial:
            raise InputError(f"{len(lost)} of {what}: {some(lost)}; correct them, or pass --partial true for a subset.")
        if lost:
            print(f"{len(lost)} of {what} and are left out.")
    return {part: [name for name in names[part] if name in rows] for part in _LISTS}


def _check_counts(content: Table, listed: Mapping[str, Sequence[Item]]) -> None:
    """Compare images, patients and positives with the published numbers.

    Raises:
        InputError: the first that differs, with the number of others.
    """
    problems = []
    for column, part in enumerate(_LISTS):
        items = listed[part]
        positives = Counter(index for item in items for index in classes_of(item))
        found = {
            "images": (len(items), _IMAGES),
            **{name: (positives[index], _POSITIVES[name]) for index, name in enumerate(CXR14_FINDINGS)},
            "images without a finding": (sum(not classes_of(item) for item in items), _NO_FINDING),
            "patients": (len({item["patient_id"] for item in items}), _PATIENTS),
        }
        problems += [
            f"{what}: found {count} in {part}, expected {expected[column]}"
            for what, (count, expected) in found.items()
            if count != expected[column]
        ]
    refuse_counts(content.path, problems)


def _places(pictures: Sequence[str], rows: Mapping[str, Item]) -> dict[str, str]:
    """Image name -> its path from the data folder.

    Raises:
        InputError: a name that lies in two folders.
    """
    places: dict[str, str] = {}
    for file in pictures:
        if _name(file) in rows and places.setdefault(_name(file), file) != file:
            raise InputError(
                f"{_name(file)} is there twice, as {places[_name(file)]} and {file}; name the folder to use with "
                "--images."
            )
    return places


def _name(path: str) -> str:
    return path.rpartition("/")[2]
