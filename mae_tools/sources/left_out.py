"""Which files of a data folder come into no list, said by kind: nothing is left out without a word."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.find import VOLUMES, other_kind, some
from bundle_runtime.data.schema import SECTIONS, as_list
from bundle_runtime.data.verify import parts_of

# What a release says in words and tables: no image, so nothing need be said of it where images are listed.
_DOCUMENTS = (
    ".txt", ".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".tex", ".bib", ".html", ".htm", ".log",
    ".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".geojson", ".xml", ".yaml", ".yml", ".toml", ".ini",
    ".cfg", ".py", ".ipynb", ".m", ".r", ".sh", ".md5", ".sha256",
)  # fmt: skip
_WORDS = ("README", "LICENSE", "LICENCE", "COPYING", "CITATION", "CHANGES", "AUTHORS", "NOTICE", "VERSION", "DICOMDIR")


def tell_left_out(place: Path, files: Sequence[str], datalist: Mapping[str, Any], used: Collection[str]) -> None:
    """Print which files come into no list; those of words and tables are not missed there.

    Args:
        place: the data folder.
        files: as paths from it.
        datalist: what a source made of them.
        used: files of which it has made others, or has told.
    """
    items = [item for part in SECTIONS for item in datalist.get(part, ())]
    listed = {text for item in items for value in item.values() for text in as_list(value) if isinstance(text, str)}
    for file in [file for file in listed if file.lower().endswith((".mhd", ".nhdr"))]:
        listed |= {os.path.relpath(part, place) for part in parts_of(os.path.join(place, file))}
    left = [file for file in files if file not in listed and file not in used and not is_document(file)]
    if left:
        print(f"{len(left)} file(s) of {place} come into no list: {by_kind(place, left)}.")


def is_document(file: str) -> bool:
    """Whether a file holds words or a table by its name: what comes with images and is none."""
    name = file.rpartition("/")[2]
    return name.lower().endswith(_DOCUMENTS) or name.upper().partition(".")[0] in _WORDS


def by_kind(place: Path, files: Iterable[str]) -> str:
    """Files by their endings, or what they are, as `2 .png (a.png, b.png), 1 MINC (c.mnc)`."""
    kinds: dict[str, list[str]] = {}
    for file in files:
        ending = next((end for end in VOLUMES if file.lower().endswith(end)), Path(file).suffix.lower())
        kinds.setdefault(other_kind(place / file) or ending or "without ending", []).append(file)
    return ", ".join(f"{len(named)} {kind} ({some(named, 2)})" for kind, named in kinds.items())
