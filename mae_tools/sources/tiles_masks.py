"""A folder of pictures and a folder of masks: an object, a class or just foreground by the values of the masks."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bundle_runtime.data.find import files_below, some
from bundle_runtime.data.patients import read_patients
from bundle_runtime.data.schema import SECTIONS, Item
from custom_components.errors import InputError

from .csv_table import name_list
from .earlier_split import split_like
from .lists import Lists, section_name
from .pictures import is_picture, own_patient, patients_in_names
from .registry import source
from .segmented import write_masks_list
from .split import existing_folder


@source
def tiles_masks(
    root: str | Path,
    out: str | Path | None = None,
    images: str = "images",
    masks: str = "masks",
    mask_kind: str = "instance",
    mask_ending: str = "",
    class_names: str | Iterable[str] = ("background", "nucleus"),
    patient_pattern: str | None = None,
    patients: str | Path | None = None,
    split_from: str | Path | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    parity: bool = False,
    modality: str | None = None,
) -> dict[str, Any]:
    """Write the datalist of pictures and masks of the same name, split by patient.

    Below both folders there may be others; `<images>/train/a.png` belongs to `<masks>/train/a.tif`, and folders called
    train, val and test (both in `<images>/train` and in `train/<images>`) are respected.

    Args:
        root: the folder that holds both.
        out: the datalist to write (default: `<root>/datalist.json`).
        images: the folder of the pictures.
        masks: that of the masks; it may be the same one where the masks have an ending of their own.
        mask_kind: instance (a number an object), binary (any value above 0) or classes (the index of a class).
        mask_ending: what a mask's name has more than its picture's: `_mask` for `a.png` and `a_mask.png`.
        class_names: background first.
        patient_pattern: a regular expression whose group finds the patient in the picture's name, or in its path if it
            contains a slash.
        patients: instead of it, a CSV with the columns `case` and `patient_id`.
        split_from: another datalist of the same pictures or patients, such as that of the pre-training: each picture
            comes into the list where that one has it, or else its patient; those that it does not name train. Then
            nothing is dealt, and folders called train, val and test do not count.
        val_fraction: share of the patients that selects.
        test_fraction: share of the patients that is read once, at the end.
        seed: deals the patients.
        parity: what is tested also selects.
        modality: e.g. H&E, noted in the datalist.

    Raises:
        InputError: a picture without a mask or the reverse, patients in several of the given lists, or a `split_from`
            of other pictures.
    """
    base = existing_folder(root)
    target = Path(out) if out is not None else base / "datalist.json"
    if split_from is not None and target.resolve() == Path(split_from).resolve():
        raise InputError(f"{target}: split_from would be overwritten; name another file with --out.")
    pairs = _pairs(base, images, masks, mask_ending)
    owner = _owners(list(pairs), patient_pattern, patients, quiet=split_from is not None)
    entries = [{"image": file, "label": mask, "patient_id": owner[file]} for file, mask in pairs.items()]
    names, fractions, origin = name_list(class_names, "class_names"), (val_fraction, test_fraction), "lists as given"
    if split_from is None:
        given = _given(base, entries)
    else:
        given, repeated = split_like(entries, split_from, base, patient_pattern is None and patients is None)
        parity, fractions, origin = parity or repeated, (0, 0), f"lists as in {Path(split_from).name}"
    return write_masks_list(base, out, entries, given, names, mask_kind, modality, *fractions, seed, parity, origin)


def _given(base: Path, entries: list[Item]) -> Lists | None:
    """The lists that folders called train, val and test make; None where there are none.

    Raises:
        InputError: some pictures lie in such folders and others do not.
    """
    given: Lists = {part: [] for part in SECTIONS}
    alone = []
    for entry in entries:
        part = _section(entry["image"])
        given[part or "training"].append(entry)
        if part is None:
            alone.append(entry["image"])
    if len(alone) == len(entries):
        return None
    if alone:
        raise InputError(
            f"{base}: {len(alone)} pictures lie in no folder train, val or test: {some(alone)}; move them."
        )
    return given


def _owners(files: list[str], pattern: str | None, patients: str | Path | None, quiet: bool = False) -> dict[str, str]:
    """File -> patient; every file is one of its own where nothing says whose it is, which is printed."""
    if pattern is not None and patients is not None:
        raise InputError("patient_pattern and patients are both given; choose one.")
    if pattern is not None:
        return patients_in_names(files, pattern)
    if patients is not None:
        return read_patients(patients, files)
    if not quiet:
        print(
            "Every picture counts as a patient of its own; name --patient_pattern or --patients where they have "
            "several, or --split_from."
        )
    return {file: own_patient(file) for file in files}


def _section(file: str) -> str | None:
    """The list that a folder on the way to a file names."""
    return next((part for folder in file.split("/")[:-1] if (part := section_name(folder)) is not None), None)


def _pairs(base: Path, images: str, masks: str, ending: str) -> dict[str, str]:
    """Picture -> mask, as paths from the data folder.

    Raises:
        InputError: a folder is missing or empty, or one is there without the other.
    """
    pictures = [file for file in files_below(base) if is_picture(file)]
    found = {}
    for folder, key in ((images, "images"), (masks, "masks")):
        listed: dict[str, str] = {}
        for file in pictures:
            parts = file.split("/")
            wanted = folder.strip("/").split("/")
            starts = [at for at in range(len(parts) - len(wanted)) if parts[at : at + len(wanted)] == wanted]
            if starts or folder in (".", ""):
                rest = [*parts[: starts[0]], *parts[starts[0] + len(wanted) :]] if starts else parts
                stem = own_patient("/".join(rest))
                is_mask = bool(ending) and stem.endswith(ending)
                if is_mask == (bool(ending) and key == "masks"):
                    stem = stem.removesuffix(ending) if is_mask else stem
                    if stem in listed:
                        raise InputError(f"{base}: {listed[stem]} and {file} have the same name; keep one of them.")
                    listed[stem] = file
        if not listed:
            raise InputError(f"{base}: there is no picture in a folder {folder!r}; name it with --{key}.")
        found[key] = listed
    for key, other in (("images", "masks"), ("masks", "images")):
        alone = [file for stem, file in found[key].items() if stem not in found[other]]
        if alone:
            raise InputError(
                f"{base}: {len(alone)} of the {key} have none of the {other} of the same name: {some(alone)}; add "
                "them, or name the difference with --mask_ending."
            )
    return {file: found["masks"][stem] for stem, file in sorted(found["images"].items())}
