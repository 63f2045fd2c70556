"""Synthetic patients dealt to the lists of a datalist."""

from typing import Any

from bundle_runtime.data.schema import SECTIONS


def lists_in_order(entries: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Deal whole patients in their order: half train, then a fifth selects, the rest is tested."""
    total = len(entries)
    first_of: dict[str, int] = {}
    for index, entry in enumerate(entries):
        first_of.setdefault(entry["patient_id"], index)
    lists: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for entry in entries:
        share = first_of[entry["patient_id"]] / total
        lists["training" if share < 0.5 else "validation" if share < 0.7 else "test"].append(entry)
    return lists
