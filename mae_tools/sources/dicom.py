"""An export of a PACS: series chosen and converted once, drawn structures as label maps, patients under a hash."""

import errno
import gzip
import hashlib
import hmac
import json
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from bundle_runtime.data.find import VOLUMES, some
from bundle_runtime.data.schema import Item
from bundle_runtime.data.verify import Found
from bundle_runtime.data.verify_labels import read_label
from bundle_runtime.data.verify_volumes import Expected
from bundle_runtime.data.volume import UnusableError, in_millimetres, tilted
from bundle_runtime.dicom.pixels import text
from bundle_runtime.dicom.series import Export, NoVolume, Series, read_files, scan
from bundle_runtime.dicom.structures import drawn_on, paint, read_structures
from bundle_runtime.files import aligned, write_atomically, write_csv, write_json
from custom_components.errors import InputError

from .dicom_rules import Rules, read_rules
from .options import name_list
from .registry import Root, source
from .split import Found as Items
from .split import by_patient

LABELS = ("seg", "rtstruct", "nifti", "none")


@dataclass
class Case:
    """One series of the export.

    Attributes:
        key: of the series in the export.
        name: of its files, a hash.
        patient: likewise.
        taken: "yes", or why not in words that name nobody; these are written.
        said: what is printed beside it, which may hold names.
        notes: what is printed and written, of the classes drawn on it.
        entry: of the datalist, once it is converted.
    """

    series: Series
    key: str
    name: str
    patient: str
    taken: str = "yes"
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    entry: Item | None = None


@source(split=by_patient, converts=True)
def dicom(
    root: Root,
    class_names: str | Sequence[str] | None = None,
    modality: str | None = None,
    series: str | None = None,
    rules: str | Path | None = None,
    labels: str = "none",
) -> Items:
    """Convert the series of a DICOM export to compressed NIfTI, and write their datalist.

    Nothing that names a patient is written: patients and series get a hash, salted with `<out>/.salt`, a file that
    stays here. The terminal shows the series' own descriptions and folders beside the hashes; `<out>/series.csv` does
    not. After an interruption, run it again: it converts what is not there yet. Where structures overlap, the later
    class of `class_names` counts; a class that nothing is drawn for in a case is `unlabelled` there.

    Args:
        root: folder with DICOM files, nested in any way; only read.
        class_names: all classes, background first; needed with labels.
        modality: take series of this modality only (default: CT and MR).
        series: take series whose description fits this pattern, such as `*venous*`, in any case.
        rules: YAML file in place of the last two; see the documentation of own data.
        labels: what the label maps are made of: seg, rtstruct, nifti (the only one in the series' folder), none.
        out: folder for images/, labels/, datalist.json and series.csv; made if missing.

    Raises:
        InputError: a setting that makes no sense, nothing to take, or a full disk; what is converted by then is kept.
    """
    target = root.out
    if labels not in LABELS:
        raise InputError(f"labels is {labels!r}; choose one of {', '.join(LABELS)}.")
    names = None if class_names is None else name_list(class_names, "class_names")
    if labels != "none" and names is None:
        raise InputError("labels need class_names, background first; add them.")
    chosen = read_rules(rules, modality, series, names)
    files = [str(root.path / file) for file in root.files()]
    found = scan(files)
    told = {*found.refused, *found.objects, *(file for series in found.series.values() for file in series.files)}
    root.used.update(os.path.relpath(file, root.path) for file in told)
    salt = _salt(target)
    cases = [_case(series, key, salt, chosen, found, root.path) for key, series in found.series.items()]
    wanted = [case for case in cases if case.taken == "yes"]
    if labels == "nifti":
        _refuse_shared_folders(wanted)
        wanted = [case for case in wanted if case.taken == "yes"]
    converted = _Converted(target, names, labels, chosen, found, files)
    for number, case in enumerate(wanted):
        try:
            root.used.update(os.path.relpath(file, root.path) for file in converted.convert(case))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(f"{error.filename or target}: {error.strerror or error}.") from error
            raise InputError(
                f"{target}: the disk is full after {number} of {len(wanted)} series; make room and run the same "
                "command again, which goes on there."
            ) from error
    _tell(cases, found, converted.drawn_on, root.path, target, labels)
    if not any(case.entry for case in cases):
        raise InputError(
            f"{root.path} holds nothing for a datalist: none of its {len(cases)} series is taken; the table says why."
        )
    entries = sorted((case.entry for case in cases if case.entry is not None), key=lambda entry: str(entry["image"]))
    about = {"class_names": names, "modality": modality}
    return Items(entries, keys=about, name="DICOM series", shown={} if labels == "none" else converted.shown)


def _salt(target: Path) -> bytes:
    """The secret of this folder, which git leaves alone and only its owner reads."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / ".salt"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
        write_atomically(target / ".gitignore", "*\n")
    return path.read_bytes()


def _hash(salt: bytes, content: str, length: int) -> str:
    return hmac.new(salt, content.encode(), hashlib.sha256).hexdigest()[:length]


def _case(series: Series, key: str, salt: bytes, rules: Rules, found: Export, source: Path) -> Case:
    """A series under its hash, and why it is not taken where its headers tell."""
    told = filter(None, (text(series.header, name) for name in ("PatientID", "PatientName", "StudyInstanceUID")))
    own = key if text(series.header, "SeriesInstanceUID") else os.path.relpath(key, source)  # wherever the export lies
    person = next(told, "")
    patient = _hash(salt, person or own, 12)
    case = Case(series, key, f"{patient}_{_hash(salt, own, 8)}", patient)
    folders = {os.path.dirname(file) for file in series.files}
    broken = [file for file in found.damaged if os.path.dirname(file) in folders]
    try:
        if (reason := rules.refusal(series)) is not None:
            case.taken, case.said = "no: not chosen", [reason]
        elif broken:
            case.taken, case.said = "no: damaged", [f"{broken[0]} {found.refused[broken[0]]}"]
        else:
            alone = "" if person else "names no patient and no study: counts as a patient of its own"
            case.said = list(filter(None, (tilted(series.stack().affine), alone)))
    except UnusableError as problem:
        case.taken = "no: no volume" if isinstance(problem, NoVolume) else "no: no even stack of slices"
        case.said = [str(problem)]
    return case


def _refuse_shared_folders(cases: Sequence[Case]) -> None:
    """Take no series whose folder holds another that is wanted: nothing says whose label a NIfTI file there is."""
    counts = Counter(folder for case in cases for folder in {os.path.dirname(file) for file in case.series.files})
    for case in cases:
        others = max(counts[os.path.dirname(file)] for file in case.series.files) - 1
        if others:
            case.taken = "no: its images or labels cannot be used"
            case.said = [
                f"lies in one folder with {others} other series that would be taken, and nothing says whose label the "
                "NIfTI file there is; give each a folder of its own, or choose one with --series or --rules"
            ]


class _Converted:
    """The folder of converted series, with a note of what each was made of."""

    def __init__(
        self, target: Path, names: list[str] | None, labels: str, rules: Rules, found: Export, files: Sequence[str]
    ) -> None:
        self.target, self.names, self.labels, self.rules = target, names, labels, rules
        self.drawn_on, self.found, self.files = drawn_on(found), found, files
        self.shown: dict[str, set[int]] = {}  # patient -> the classes in their label maps
        self.notes_path = target / "converted.json"
        self.notes: dict[str, Any] = json.loads(self.notes_path.read_text()) if self.notes_path.exists() else {}

    def convert(self, case: Case) -> list[str]:
        """Write image and label of a series unless they are there, made of the same files by the same settings.

        Returns:
            The files of its labels.
        """
        drawn = self._drawings(case)
        stats = [(os.path.getsize(file), os.stat(file).st_mtime_ns) for file in (*case.series.files, *drawn)]
        recipe = hashlib.sha256(repr((stats, self.names, self.labels, self.rules.classes)).encode()).hexdigest()
        note, entry = self.notes.get(case.name), self._entry(case)
        there = all((self.target / entry[key]).is_file() for key in ("image", "label") if key in entry)
        if not (note and note["recipe"] == recipe and "shown" in note and there):
            try:
                note = {"recipe": recipe, **self._write(case, drawn, entry)}
            except (UnusableError, InputError) as problem:
                case.taken, case.said = "no: its images or labels cannot be used", [str(problem)]
                return drawn
            self.notes[case.name] = note
            write_json(self.notes_path, self.notes)
        case.notes = list(note["notes"])
        self.shown.setdefault(case.patient, set()).update(note["shown"])
        case.entry = {**entry, **({"unlabelled": note["unlabelled"]} if note["unlabelled"] else {})}
        return drawn

    def _entry(self, case: Case) -> Item:
        entry: Item = {"image": f"images/{case.name}.nii.gz", "patient_id": case.patient}
        return entry if self.labels == "none" else {**entry, "label": f"labels/{case.name}.nii.gz"}

    def _drawings(self, case: Case) -> list[str]:
        """The files that hold the labels of a series."""
        if self.labels == "nifti":
            folders = {os.path.dirname(file) for file in case.series.files}
            return [f for f in self.files if f.lower().endswith(VOLUMES) and os.path.dirname(f) in folders]
        kind = self.labels.upper()
        drawn = [file for file, header in self.found.objects.items() if text(header, "Modality") == kind]
        return [file for file in drawn if case.key in self.drawn_on[file]]

    def _write(self, case: Case, drawn: Sequence[str], entry: Item) -> dict[str, Any]:
        """Convert one series; the label first, as an image without one is of no use."""
        if self.labels != "none" and not drawn:
            raise UnusableError(f"has no {self.labels} label that refers to it")
        image, voxels = read_files(case.series.files, case.name)
        note: dict[str, Any] = {"unlabelled": [], "notes": [], "shown": []}
        label: np.ndarray | None = None
        if self.labels == "nifti":
            label = self._turned(drawn, image)
        elif self.labels != "none" and self.names is not None:
            structures = [each for file in drawn for each in read_structures(file, image.affine, image.shape)]
            painted = paint(structures, self.names, image.shape, self.rules.classes)
            case.said += [f"not a class: {some(painted.strangers)}"] if painted.strangers else []
            label, note = painted.labels, {"unlabelled": painted.lacking, "notes": painted.notes}
        if label is not None:
            note["shown"] = [int(index) for index in np.unique(label) if index]
            _save(self.target / entry["label"], label, image.affine)
        _save(self.target / entry["image"], voxels, image.affine)
        return note

    def _turned(self, drawn: Sequence[str], image: Any) -> np.ndarray:
        """A NIfTI label in the order of axes of its image, in the smallest type that holds it."""
        if len(drawn) != 1:
            raise UnusableError(f"has {len(drawn)} label files in its folder, expected one")
        found = Found("", drawn[0], drawn[0])
        codes = read_label(found, {"label": drawn[0]}, image, Expected(class_names=self.names)).codes
        if codes is None or found.failed:
            raise UnusableError(f"has a label that cannot be used: {found.errors[0]}")
        return codes.astype(np.min_scalar_type(codes.max()))


def _save(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """A compressed NIfTI without a time or a name in it."""
    image = in_millimetres(nib.Nifti1Image(values, affine))
    write_atomically(path, gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))


def _tell(
    cases: Sequence[Case], found: Export, drawn: Mapping[str, set[str]], source: Path, target: Path, labels: str
) -> None:
    """Print the table with the names and folders that a reader knows the series by; write it without them."""
    rows = sorted(cases, key=lambda case: (case.taken != "yes", case.name))
    shown = [["case", "taken", "series", "notes"]]
    for case in rows:
        folder = os.path.relpath(os.path.dirname(case.series.files[0]), source)
        said = "; ".join([*case.said, *case.notes])
        shown.append([case.name, case.taken, case.series.title(), f"{folder}: {said}" if said else ""])
    print(aligned(shown))
    for what, files in (
        ("other objects", [f"{os.path.basename(file)} {reason}" for file, reason in found.refused.items()]),
        ("drawings on series that are not here", [os.path.basename(file) for file, on in drawn.items() if not on]),
    ):
        if files:
            print(f"{len(files)} {what}: {'; '.join(files[:5])}{' ...' if len(files) > 5 else ''}")
    if labels in ("seg", "rtstruct"):
        print("Where structures overlap, the later class of class_names counts.")
    columns = ["case", "patient_id", "modality", "slices", "rows", "columns", "taken", "notes"]
    sizes = [case.series.frames[0].size if case.series.frames else ("", "") for case in rows]
    table = [
        [
            case.name, case.patient, text(case.series.header, "Modality"), len(case.series.frames), *size,
            case.taken, "; ".join(case.notes),
        ]
        for case, size in zip(rows, sizes, strict=True)
    ]  # fmt: skip
    write_csv(target / "series.csv", columns, table)
