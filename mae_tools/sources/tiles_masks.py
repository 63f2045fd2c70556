"""A folder of pictures and a folder of masks, or outlines of an annotation tool of which masks are drawn."""

from collections.abc import Iterable
from pathlib import Path

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import MASK_KINDS, SECTIONS, Item
from custom_components.errors import InputError

from .lists import by_class
from .options import name_list
from .outlines import masks_of
from .pictures import is_picture, own_patient, owners
from .registry import Root, source
from .split import Found, Lists, section_name


@source(split=by_class, fixed={"per_class": False})
def tiles_masks(
    root: Root,
    images: str = "images",
    masks: str | None = None,
    mask_kind: str = "instance",
    mask_ending: str = "",
    class_names: str | Iterable[str] | None = None,
    outlines: str | Path | None = None,
    patient_pattern: str | None = None,
    patients: str | Path | None = None,
    modality: str | None = None,
) -> Found:
    """Write the datalist of pictures and masks of the same name, split by patient.

    With `outlines` masks are drawn (16-bit PNG, anew each time): numbered objects where there is one class, which may
    be called otherwise where the files tell no other, else the index of the class, smaller ones over larger ones.

    Below both folders there may be others; `<images>/train/a.png` belongs to `<masks>/train/a.tif`, and folders called
    train, val and test (both in `<images>/train` and in `train/<images>`) are respected.

    Args:
        root: the folder that holds both.
        images: the folder of the pictures; with `outlines` they may lie anywhere if it is not there.
        masks: that of the masks (default: masks, or outline_masks for drawn ones); it may be the same one where the
            masks have an ending of their own.
        mask_kind: instance (a number an object), binary (two values) or classes (the index of a class).
        mask_ending: what a mask's name has more than its picture's: `_mask` for `a.png` and `a_mask.png`.
        class_names: background first (default: background and nucleus; with `outlines`: what occurs).
        outlines: instead of masks, a file or folder of outlines: GeoJSON of QuPath or LabelMe files called like their
            pictures, or COCO. A picture without objects needs an empty file, or its entry in the COCO file.
        patient_pattern: a regular expression whose group finds the patient in the picture's name, or in its path if it
            contains a slash.
        patients: instead of it, a CSV with the columns `case` and `patient_id`.
        modality: e.g. H&E, noted in the datalist.

    Raises:
        InputError: a picture without a mask or the reverse, or patients in several of the given lists.
    """
    if mask_kind not in MASK_KINDS:
        raise InputError(f"mask_kind is {mask_kind!r}; choose one of {', '.join(MASK_KINDS)}.")
    names = None if class_names is None else name_list(class_names, "class_names")
    if outlines is None:
        pairs, names = _pairs(root, images, masks or "masks", mask_ending), names or ["background", "nucleus"]
    else:
        drawn = masks or "outline_masks"
        pairs, names, mask_kind = masks_of(root, outlines, drawn, _pictures(root, images, drawn), names)
    owner = owners(list(pairs), root.path, patient_pattern, patients)
    entries = [{"image": file, "label": mask, "patient_id": owner[file]} for file, mask in pairs.items()]
    given = _given(root.path, entries)
    return Found(entries, given, keys={"class_names": names, "mask_kind": mask_kind, "modality": modality})


def _pictures(root: Root, images: str, drawn: str) -> list[str]:
    """The pictures in folders of that name, or else all; never those that were drawn."""
    made = root.path.absolute() / drawn
    found = [file for file in root.files() if is_picture(file) and made not in (root.path.absolute() / file).parents]
    return [file for file in found if f"/{images.strip('/')}/" in f"/{file}"] or found


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


def _section(file: str) -> str | None:
    """The list that a folder on the way to a file names."""
    return next((part for folder in file.split("/")[:-1] if (part := section_name(folder)) is not None), None)


def _pairs(root: Root, images: str, masks: str, ending: str) -> dict[str, str]:
    """Picture -> mask, as paths from the data folder.

    Raises:
        InputError: a folder is missing or empty, or one is there without the other.
    """
    base, pictures = root.path, [file for file in root.files() if is_picture(file)]
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
