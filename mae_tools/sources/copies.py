"""What a source does about copies: the same picture or scan under several names, found by its decoded content."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.data.datalist import prepare
from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS, Datalist, Item
from custom_components.errors import InputError
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..check.command import kind_of
from ..copies import Place, copy_problems, find_copies

WAYS = ("refuse", "drop", "together")
Entry = tuple[str, Item, bytes]  # list, item of the datalist, digest of its image


def settle(datalist: Datalist, how: str, root: Path, path: Path) -> Datalist:
    """Decode every image of a datalist, and see to it that no two lists hold the same one.

    Args:
        datalist: what a source made.
        how: "refuse"; "drop": one of each group stays, the first of training, else of validation, else of test; or
            "together": each group, with all other images of its patients, comes into the list that holds most of
            them, in case of a tie the first of training, validation and test.
        root: where its paths start.
        path: the file that it is for.

    Raises:
        InputError: another word, an image that cannot be read, or there are copies and they are refused.
    """
    if how not in WAYS:
        raise InputError(f"copies is {how!r}, expected {', '.join(WAYS)}.")
    datalist = {**{part: [] for part in SECTIONS}, **datalist}
    parity = bool(datalist.get("parity"))
    parts = {part: prepare(datalist, part, path, root) for part in SECTIONS if not (parity and part == "test")}
    kind = kind_of(datalist, path, root)
    found = dict(zip(parts, (kind.digests(items) for items in parts.values()), strict=True))
    pairs = [(item, name) for part, items in parts.items() for item, name in zip(items, found[part], strict=True)]
    unread = [item["file"] for item, name in pairs if name is None]
    if unread:
        raise InputError(
            f"{path}: not written, {len(unread)} image(s) cannot be read, and copies of them would not be found: "
            f"{some(unread, 3)}; mend or exclude them."
        )
    copies = find_copies((Place.of(item), name) for item, name in pairs if name is not None)
    print(f"Copies: {sum(map(len, copies))} images are {len(copies)} different ones.")
    if not copies:
        return datalist
    if how == "refuse":
        first = copy_problems(copies, "content", parity)[0]
        raise InputError(f"{path}: not written, {len(copies)} images are there under several names; {first}.")
    unlike = sum(len({repr(place.label) for place in group}) > 1 for group in copies)
    if unlike:
        print(f"{unlike} of them bear different labels; look at them in the report of a check.")
    entries = [
        (part, item, name or b"") for part in parts for item, name in zip(datalist[part], found[part], strict=True)
    ]
    lists = _first_ones(entries) if how == "drop" else _together(entries)
    datalist = {**datalist, **{part: lists[part] for part in parts}}
    if parity:
        datalist["test"] = datalist["validation"]
    return datalist


def _first_ones(entries: list[Entry]) -> dict[str, list[Item]]:
    """The first entry of each digest, in the order of the lists."""
    lists: dict[str, list[Item]] = {part: [] for part in SECTIONS}
    seen: set[bytes] = set()
    for part, item, name in entries:
        if name not in seen:
            lists[part].append(item)
        seen.add(name)
    return lists


def _together(entries: list[Entry]) -> dict[str, list[Item]]:
    """All entries, those that share patients or digests in one list."""
    lists: dict[str, list[Item]] = {part: [] for part in SECTIONS}
    groups = _connected(entries)
    votes: dict[int, Counter[str]] = {}
    for group, (part, _, _) in zip(groups, entries, strict=True):
        votes.setdefault(group, Counter())[part] += 1
    chosen = {group: max(SECTIONS, key=counts.__getitem__) for group, counts in votes.items()}
    for group, (_, item, _) in zip(groups, entries, strict=True):
        lists[chosen[group]].append(item)
    return lists


def _connected(entries: list[Entry]) -> list[int]:
    """For each entry the number of its group: entries that share a patient or a digest, also by way of others."""
    first: dict[Any, int] = {}
    links = [(index, first.setdefault(key, index)) for index, (_, item, name) in enumerate(entries)
             for key in (name, item.get("patient_id", name))]  # fmt: skip
    rows, columns = zip(*links, strict=True)
    graph = coo_matrix((np.ones(len(links)), (rows, columns)), shape=(len(entries),) * 2)
    return connected_components(graph, directed=False)[1].tolist()
