"""Chest X-ray 2017 (Kermany et al. 2018): radiographs of children, normal or pneumonia, split by patient."""

import re
from typing import Any

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from custom_components.errors import InputError

from .crossing import resolve_crossing
from .lists import common_keys, deal_lists
from .pictures import is_picture
from .registry import Root, source
from .split import section_name

CLASSES = ("NORMAL", "PNEUMONIA")
# person63_bacteria_306.jpeg; IM-0115-0001.jpeg, NORMAL2-IM-0927-0001-0002.jpeg. Both series of numbers are their own.
_PATIENT = re.compile(r"(person\d+)_|((?:NORMAL\d+-)?IM-\d+)-")


@source
def chest2017(
    root: Root,
    crossing: str = "drop",
    keep_validation: bool = False,
    train_fraction: float | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    parity: bool = False,
) -> dict[str, Any]:
    """Write the datalist of `train`, `val` and `test` with the folders NORMAL and PNEUMONIA.

    The published validation list has 16 images, too few to select by; it joins training unless it is kept, and
    validation is taken out by patient.

    Args:
        root: the folder that holds the lists (chest_xray).
        crossing: drop (leave out the training images), keep or refuse a patient number that is in several lists; the
            release does not say whether those of train and test are the same children.
        keep_validation: select by the published 16 images.
        train_fraction: put all lists together and deal them anew, so much of it not tested; 0.7 is the paper's.
        val_fraction: share of the training patients of each class that selects.
        seed: deals the patients.
        parity: the paper's own use: what is tested also selects.

    Raises:
        InputError: a folder is missing, a name tells no patient, or patients cross and crossing is refuse.
    """
    given = _given(root)
    if train_fraction is not None:
        entries = [item for items in given.values() for item in items]
        lists, said = deal_lists(entries, None, val_fraction, 1 - train_fraction, seed, True, parity)
    else:
        if not keep_validation:
            given = {"training": given["training"] + given["validation"], "validation": [], "test": given["test"]}
        given, resolved = resolve_crossing(given, crossing)
        lists, said = deal_lists([], given, val_fraction, 0, seed, True, parity, f"the published test list{resolved}")
    datalist = {**common_keys("multi_class", CLASSES, "X-ray"), **lists}
    datalist["description"] = f"{root.name}: {said}."
    return datalist


def _given(root: Root) -> dict[str, list[Item]]:
    """The published lists.

    Raises:
        InputError: one is missing, another class, or a name that tells no patient.
    """
    given: dict[str, list[Item]] = {"training": [], "validation": [], "test": []}
    unknown = []
    base = root.path
    for file in filter(is_picture, root.files()):
        parts = file.split("/")
        part = section_name(parts[-3]) if len(parts) >= 3 else None
        match = _PATIENT.match(parts[-1])
        if part is None or parts[-2] not in CLASSES or match is None:
            unknown.append(file)
            continue
        patient = match[1] or match[2]
        given[part].append({"image": file, "label": CLASSES.index(parts[-2]), "patient_id": patient})
    if unknown:
        raise InputError(
            f"{base}: {len(unknown)} pictures are not of the form train/PNEUMONIA/person63_bacteria_306.jpeg: "
            f"{some(unknown, 3)}; give the folder of the release, and remove copies of it (such as __MACOSX)."
        )
    if not given["training"] or not given["test"]:
        raise InputError(f"{base}: expected the folders train and test with {' and '.join(CLASSES)} in each.")
    return given
