"""Pictures in a folder a class, with or without train, val and test folders around them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bundle_runtime.data.find import some
from bundle_runtime.data.image_file import is_picture_file
from bundle_runtime.data.schema import SECTIONS, Item
from bundle_runtime.data.tables import nearest
from custom_components.errors import InputError

from .lists import by_class, common_keys
from .options import name_list
from .pictures import is_picture, own_patient, owners
from .registry import Root, source
from .split import Found, section_name

_MASK = re.compile(r"(.+?)(_(?:mask|segmentation))(?:_\d+)?", re.IGNORECASE)
_PARITY_TRAIN_FRACTION = 0.7


@source(split=by_class)
def class_folder(
    root: Root,
    class_names: str | Iterable[str] | None = None,
    ordered: bool = False,
    patient_pattern: str | None = None,
    patients: str | Path | None = None,
    parity_split: bool = False,
    modality: str | None = None,
) -> Found:
    """Write the datalist of `<root>/<class>/...` or `<root>/train/<class>/...`, split by patient or picture.

    Pictures may lie in further folders inside that of their class. Where nothing names their patients, each counts as a
    patient of its own. Given train, val and test folders (also called training, valid, validation, testing) are
    respected; those that are missing are taken out of training. With `train_fraction`, `val_fraction` is a share of
    those that train.

    Args:
        root: the folder.
        class_names: the classes in the order wanted (default: sorted).
        ordered: the classes are grades, lowest first, which gives a quadratic kappa.
        patient_pattern: a regular expression whose group finds the patient in the file's name, such as `^(p\\d+)_`, or
            in its path if it contains a slash.
        patients: instead of it, a CSV with the columns `case` (file name or path) and `patient_id`.
        parity_split: the split of MSMAE (arXiv 2305.05871): in each class 30 % of the images, rounded down, are tested;
            `train_fraction=0.7`, `per_class=true`. Without patients it is by image, as the authors' was.
        modality: e.g. fundus photograph, noted in the datalist.

    Raises:
        InputError: fewer than two classes, a class with fewer than two pictures, files that are no pictures or look
            like masks, classes that differ between the lists, or patients in several of the given lists.
    """
    found = _pictures(root)
    names = _names(root.path, found, class_names)
    files = [file for classes in found.values() for listed in classes.values() for file in listed]
    lists = _lists(found, names, owners(files, root.path, patient_pattern, patients))
    return Found(
        [item for items in lists.values() for item in items],
        None if "" in lists else {part: lists.get(part, []) for part in SECTIONS},
        keys=common_keys("multi_class", names, modality, ordered),
        settings={"train_fraction": _PARITY_TRAIN_FRACTION, "per_class": True} if parity_split else {},
        select_of_training=True,
    )


def _lists(
    found: dict[str, dict[str, list[str]]], names: Sequence[str], owner: Mapping[str, str]
) -> dict[str, list[Item]]:
    """The items of each list that was found, class by class."""
    return {
        part: [
            {"image": file, "label": index, "patient_id": owner[file]}
            for index, name in enumerate(names)
            for file in classes[name]
        ]
        for part, classes in found.items()
    }


def _pictures(root: Root) -> dict[str, dict[str, list[str]]]:
    """List ("" where there is only one) -> class -> pictures, as paths from the data folder.

    Raises:
        InputError: a folder that fits no layout, or a file in a class folder that is no picture.
    """
    found: dict[str, dict[str, list[str]]] = {}
    base = root.path
    for part, folder in _list_folders(root).items():
        found[part] = {name: root.files("/".join(filter(None, (folder, name)))) for name in root.folders(folder)}
        loose = [file for file in root.files(folder, levels=0) if is_picture(file)]
        if loose:
            raise InputError(
                f"{base / folder}: {len(loose)} picture(s) lie in no class folder: {some(loose)}; move them."
            )
    files = [file for classes in found.values() for listed in classes.values() for file in listed]
    others = [file for file in files if not is_picture_file(base / file)]
    if others:
        raise InputError(
            f"{base}: {len(others)} file(s) in class folders are no pictures: {some(others)}; move them away, or leave "
            "them out with --exclude '*.txt' or the like."
        )
    _refuse_masks(base, files)
    return found


def _list_folders(root: Root) -> dict[str, str]:
    """The folders that hold the class folders: one for each list, or for the list "" the data folder itself, ""."""
    parts = {name: section_name(name) for name in root.folders()}
    named = {name: part for name, part in parts.items() if part is not None}
    if not named:
        return {"": ""}
    others = sorted(set(parts) - set(named))
    if others or len(set(named.values())) < len(named):
        raise InputError(
            f"{root.path} holds the folders {some(parts)}; expected either a folder a class, or train, val and test, "
            "each once, with a folder a class in them."
        )
    return {part: name for part in SECTIONS for name, its in named.items() if its == part}


def _refuse_masks(base: Path, files: Sequence[str]) -> None:
    """Segmentations beside the pictures, as in BUSI, would be learned as pictures.

    Raises:
        InputError: there are some.
    """
    stems = {own_patient(file) for file in files}
    masks = [file for file in files if (match := _MASK.fullmatch(own_patient(file))) and match[1] in stems]
    if masks:
        ending = _MASK.fullmatch(own_patient(masks[0]))[2]  # type: ignore[index]
        raise InputError(
            f"{base}: {len(masks)} files look like masks of other pictures: {some(masks, 3)}; leave them out with "
            f"--exclude '*{ending}*'."
        )


def _names(
    base: Path, found: Mapping[str, Mapping[str, Sequence[str]]], class_names: str | Iterable[str] | None
) -> list[str]:
    """The classes, the same in every list and each with pictures.

    Raises:
        InputError: they are not, or there are fewer than two.
    """
    present = {part: sorted(classes) for part, classes in found.items()}
    known = sorted(set().union(*present.values()))
    for part, names in present.items():
        absent = [name for name in known if name not in names or not found[part][name]]
        if absent and len(found) > 1:
            raise InputError(
                f"{base}: the {part} list has no picture of class {some(absent)}, which other lists have; expected the "
                "same class folders in each, spelled alike; leave a class out with --exclude 'its name'."
            )
    counts = {name: sum(len(classes[name]) for classes in found.values()) for name in known}
    if len(known) < 2:
        raise InputError(
            f"{base} holds {len(known)} class folder(s){': ' if known else ''}{some(known)}; expected at least two, "
            "give the folder that contains them."
        )
    few = [f"{name} ({count})" for name, count in counts.items() if count < 2]
    if few:
        first = few[0].rpartition(" (")[0]
        raise InputError(
            f"{base}: too few pictures of class {some(few)}; expected at least two of each class. Add some, or remove "
            f"the folder, or leave it out with --exclude '{first}'."
        )
    if class_names is None:
        return sorted(known, key=int) if all(name.isdecimal() for name in known) else known
    wanted = name_list(class_names, "class_names")
    for name in [*wanted, *known]:
        if name not in known:
            raise InputError(f"{base}: class_names holds {name!r}, which is no folder; {nearest(name, known)}")
        if name not in wanted:
            raise InputError(f"{base}: the folder {name!r} is not among class_names {wanted}; add it or move it away.")
    return wanted
