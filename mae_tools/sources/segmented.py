"""What the sources of pictures with masks share: dealt to lists and described."""

from collections.abc import Sequence
from typing import Any

from bundle_runtime.data.schema import MASK_KINDS, Item
from custom_components.errors import InputError

from .lists import deal_lists
from .registry import Root
from .split import Lists


def masks_list(
    root: Root,
    entries: Sequence[Item],
    given: Lists | None,
    class_names: Sequence[str],
    mask_kind: str,
    modality: str | None,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    parity: bool = False,
    origin: str = "lists as given",
) -> dict[str, Any]:
    """The datalist of pictures with masks, dealt by patient.

    Args:
        root: the data folder.
        entries: items whose `label` is the path of a mask.
        given: as in `deal_lists`, as are the next but the class names.
        class_names: background first.
        mask_kind: classes, binary or instance.
        modality: noted in the datalist, if given.
        val_fraction: share of the patients that selects.
        test_fraction: share of the patients that is tested, where no test list came with the data.
        seed: deals the patients.
        parity: what is tested also selects.
        origin: where the given lists come from, in words.

    Raises:
        InputError: an unknown mask kind, impossible fractions, or patients in several of the given lists.
    """
    if mask_kind not in MASK_KINDS:
        raise InputError(f"mask_kind is {mask_kind!r}; choose one of {', '.join(MASK_KINDS)}.")
    lists, said = deal_lists(entries, given, val_fraction, test_fraction, seed, False, parity, origin)
    datalist: dict[str, Any] = {"class_names": list(class_names), "mask_kind": mask_kind, **lists}
    if modality is not None:
        datalist["modality"] = modality
    datalist["description"] = f"{root.name}: {said}."
    return datalist
