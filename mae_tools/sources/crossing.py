"""Patients who are in several of the published lists of a data set: refused, left out of training, or kept and said."""

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS
from custom_components.errors import InputError

from .split import Lists

CROSSING = ("refuse", "drop", "keep")


def resolve_crossing(lists: Lists, crossing: str) -> tuple[Lists, str]:
    """Make published lists disjoint.

    Args:
        lists: items with `patient_id`.
        crossing: refuse (stop), drop (their images of an earlier list are left out: training gives way to validation,
            both to test) or keep (the published lists as they are; scores then flatter).

    Returns:
        The lists, and what was done in words that continue a sentence, or "". Kept patients are named apart by list.

    Raises:
        InputError: an unknown choice, or patients in several lists and `refuse`.
    """
    if crossing not in CROSSING:
        raise InputError(f"crossing is {crossing!r}; choose one of {', '.join(CROSSING)}.")
    owners = {part: {item["patient_id"] for item in lists[part]} for part in SECTIONS}
    later = {
        part: set().union(*(owners[other] for other in SECTIONS[index + 1 :])) for index, part in enumerate(SECTIONS)
    }
    shared = sorted(set().union(*(owners[part] & later[part] for part in SECTIONS)))
    if not shared:
        return lists, ""
    if crossing == "refuse":
        first = " and ".join(part for part in SECTIONS if shared[0] in owners[part])
        raise InputError(
            f"{len(shared)} patient(s) are in several of the given lists, {shared[0]} in {first}: {some(shared)}; "
            "correct the lists, or pass --crossing drop to leave their earlier images out (training gives way to "
            "validation and test), or --crossing keep for the lists as they are."
        )
    if crossing == "keep":
        print(f"Warning: {len(shared)} patient(s) are in several lists and stay in them; scores will flatter.")
        kept = {
            part: [
                {**item, "patient_id": f"{part}_{item['patient_id']}"} if item["patient_id"] in shared else item
                for item in lists[part]
            ]
            for part in SECTIONS
        }
        return kept, f", {len(shared)} patients in several of them"
    dropped = {part: [item for item in lists[part] if item["patient_id"] not in later[part]] for part in SECTIONS}
    lost = sum(len(lists[part]) - len(dropped[part]) for part in SECTIONS)
    print(f"{lost} images of {len(shared)} patient(s) who are also in a later list are left out.")
    return dropped, f", without {lost} images of patients in several of them"
