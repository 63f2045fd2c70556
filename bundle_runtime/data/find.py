"""Files that are looked for in a folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from custom_components.errors import InputError

from .folder import holds_report


def volumes(place: Path, levels: int | None = 0) -> list[Path]:
    """NIfTI files of a folder and `levels` levels of subfolders (None: all), sorted.

    Links to folders are followed; hidden files and folders, as macOS adds them, are left out.

    Raises:
        InputError: a folder cannot be read.
    """
    return [place / file for file in files_below(place, levels) if file.endswith((".nii", ".nii.gz"))]


def files_below(place: Path, levels: int | None = None) -> list[str]:
    """All files of a folder and `levels` levels of subfolders (None: all) as paths from it; otherwise as `volumes`.

    They are texts with slashes: a hundred thousand `Path` objects take seconds. What `check` wrote below the folder is
    left out.
    """
    found: list[str] = []
    for folder, subfolders, files in os.walk(place, followlinks=True, onerror=_unreadable):
        parts = Path(folder).relative_to(place).parts
        if parts and holds_report(files):
            subfolders[:] = []
            continue
        subfolders[:] = [] if len(parts) == levels else [name for name in subfolders if not name.startswith(".")]
        found += ["/".join((*parts, name)) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda file: file.split("/"))


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror or error}).") from error


def some(names: Iterable[str], limit: int = 8) -> str:
    """The first names of a long list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
