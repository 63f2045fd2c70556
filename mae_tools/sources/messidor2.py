"""Messidor-2: 1,748 photographs of the retina in pairs, with adjudicated grades of diabetic retinopathy."""

from pathlib import Path

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from bundle_runtime.data.tables import Table
from custom_components.errors import InputError

from .lists import by_class, common_keys
from .pictures import PictureFinder, excluder, own_patient, pictures_in
from .registry import Root, source
from .split import Found

# International Clinical Diabetic Retinopathy scale, 0 to 4.
GRADES = ("none", "mild", "moderate", "severe", "proliferative")


@source(split=by_class, fixed={"crossing": "refuse", "per_class": True})
def messidor2(root: Root, csv: str | Path = "messidor_data.csv", pairs: str | Path | None = "messidor-2.csv") -> Found:
    """Write the datalist of the gradable photographs, both eyes of a patient in one list.

    Args:
        root: the folder that holds the pictures, anywhere below it.
        csv: the table of grades: columns image_id, adjudicated_dr_grade and adjudicated_gradable; a path in `root` or
            any other.
        pairs: the table of the release that names the two eyes of a patient in each row (left and right); None counts
            every picture as a patient of its own, as the paper's split does.

    Raises:
        InputError: a table or column is missing, a grade is none of 0 to 4, a picture is missing, or an eye is in two
            pairs.
    """
    table = root.table(csv)
    entries = _entries(root, table, _owners(root.path, pairs), paired=pairs is not None)
    return Found(entries, keys=common_keys("multi_class", GRADES, "fundus photograph", ordered=True))


def _entries(root: Root, table: Table, owner: dict[str, str], paired: bool) -> list[Item]:
    """The items of all rows with a grade.

    Raises:
        InputError: a column or a picture is missing, or a grade is none of 0 to 4.
    """
    base = root.path
    finder, is_excluded = PictureFinder(pictures_in(root.files(), base, None)), excluder(root)
    image, grade = table.column("image_id", "image"), table.column("adjudicated_dr_grade", "dr_grade")
    gradable = next((name for name in table.columns if name.lower() == "adjudicated_gradable"), None)
    entries: list[Item] = []
    missing, ungradable = [], 0
    for row in table.rows:
        cell = row.cells[grade]
        if not cell or (gradable is not None and row.cells[gradable] in ("0", "0.0")):
            ungradable += 1
            continue
        if cell.removesuffix(".0") not in map(str, range(len(GRADES))):
            raise InputError(f"{table.path}: line {row.line} has the grade {cell!r}; expected 0 to {len(GRADES) - 1}.")
        found = finder.find(row.cells[image]) or finder.find(own_patient(row.cells[image]))
        if len(found) != 1:
            if found or not is_excluded(row.cells[image]):
                missing.append(row.cells[image])
            continue
        stem = own_patient(Path(row.cells[image]).name).lower()
        entries.append({"image": found[0], "label": int(float(cell)), "patient_id": owner.get(stem, stem)})
    if missing:
        raise InputError(f"{table.path}: {len(missing)} pictures are not in {base}, or twice: {some(missing)}.")
    if ungradable:
        print(f"{ungradable} pictures have no grade and are left out.")
    alone = sum(own_patient(Path(entry["image"]).name).lower() not in owner for entry in entries)
    if paired and alone:
        print(f"{alone} pictures are in no pair; each counts as a patient of its own.")
    return entries


def _owners(base: Path, pairs: str | Path | None) -> dict[str, str]:
    """Name of a picture, without ending and case -> its patient.

    Raises:
        InputError: the table is missing, or an eye is in two pairs.
    """
    if pairs is None:
        print("Every picture counts as a patient of its own; both eyes of a patient may cross the lists.")
        return {}
    path = base / pairs if (base / pairs).is_file() else Path(pairs)
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such table of pairs; give the one of the release, or pass --pairs None to count "
            "every picture as a patient of its own."
        )
    table = Table(path)
    left, right = table.column("left"), table.column("right")
    owner: dict[str, str] = {}
    for row in table.rows:
        eyes = [own_patient(Path(row.cells[eye]).name).lower() for eye in (left, right) if row.cells[eye]]
        for eye in eyes:
            if owner.setdefault(eye, eyes[0]) != eyes[0]:
                raise InputError(f"{path}: line {row.line} names {eye}, which is in another pair; keep one of them.")
    return owner
