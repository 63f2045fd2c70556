"""Folders of images: the one that an inference run is given, and those that only hold our own report."""

import os
from collections.abc import Collection
from pathlib import Path

from custom_components.errors import InputError

_REPORT = {"check.html", "check.json"}


def holds_report(files: Collection[str]) -> bool:
    """Whether a folder with these files is one that `check` wrote: its thumbnails are no data."""
    return set(files) >= _REPORT


def image_folder(dataset_dir: str) -> Path:
    """The absolute path of `dataset_dir`.

    Raises:
        InputError: there is nothing at that path, or it is a single file.
    """
    path = Path(os.path.abspath(dataset_dir))
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(
            f"dataset_dir {dataset_dir} is a file, expected a folder; put it into a folder of its own, or give a "
            "datalist that names it."
        )
    raise InputError(f"dataset_dir {dataset_dir} does not exist; give the folder that holds the images.")
