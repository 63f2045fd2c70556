"""Chest X-ray 2017 (Kermany et al. 2018): radiographs of children, normal or pneumonia, split by patient."""

import re

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from custom_components.errors import InputError

from .lists import by_class, common_keys
from .pictures import is_picture
from .registry import Root, source
from .split import Found, section_name

CLASSES = ("NORMAL", "PNEUMONIA")
# person63_bacteria_306.jpeg; IM-0115-0001.jpeg, NORMAL2-IM-0927-0001-0002.jpeg. Both series of numbers are their own.
_PATIENT = re.compile(r"(person\d+)_|((?:NORMAL\d+-)?IM-\d+)-")


@source(split=by_class, fixed={"test_fraction": 0, "per_class": True}, crossing="drop")
def chest2017(root: Root, keep_validation: bool = False) -> Found:
    """Write the datalist of `train`, `val` and `test` with the folders NORMAL and PNEUMONIA.

    The published validation list has 16 images, too few to select by; it joins training unless it is kept, and
    validation is taken out by patient. The release
    does not say whether a patient number of train and of test is the same child.

    Args:
        root: the folder that holds the lists (chest_xray).
        keep_validation: select by the published 16 images.

    Raises:
        InputError: a folder is missing, a name tells no patient, or patients cross and crossing is refuse.
    """
    given = _given(root)
    if not keep_validation:
        given = {"training": given["training"] + given["validation"], "validation": [], "test": given["test"]}
    keys = common_keys("multi_class", CLASSES, "X-ray")
    return Found(given=given, origin="the published test list", keys=keys)


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
