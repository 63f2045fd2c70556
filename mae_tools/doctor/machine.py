"""What is installed and what there is of GPU, memory and disk; what does not fit is said with what to do."""

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch
from custom_components.training.step import has_bf16
from PIL import features
from pydicom import uid
from pydicom.pixels import get_decoder

ROOT = Path(__file__).resolve().parents[2]
_PYTHON = (3, 11), (3, 12)
_SYNTAXES = (
    uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEG2000,
)  # fmt: skip
_GB = 1e9
_LEAST_SHARED, _LEAST_DISK, _LEAST_MEMORY = 1 * _GB, 10 * _GB, 8 * _GB


class Finding(NamedTuple):
    """One line: what it is about, what was found, and what to do where that is not as it should be."""

    what: str
    found: str
    todo: str = ""


def examine(place: Path) -> list[Finding]:
    """All findings about this machine.

    Args:
        place: where results will be written.
    """
    return [*_packages(), _gpu(), *_memory(), _disk(place), _bf16(), *_readers()]


def memory_free() -> float | None:
    """Bytes of memory that a process can have; None where the system does not tell."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:  # a container may have less
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        return free if limit == "max" else min(free, int(limit) - used)
    except (OSError, ValueError):
        return free


def gpu_free() -> float | None:
    """Bytes of memory that are free on the GPU; None without one."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def _packages() -> Iterator[Finding]:
    version = sys.version_info[:2]
    fits = _PYTHON[0] <= version <= _PYTHON[1]
    yield Finding("Python", f"{platform.python_version()}, {platform.platform()}", "" if fits else "take 3.11 or 3.12")
    pins = re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    other = [f"{name} {found or 'missing'} ({pin})" for name, pin in pins if (found := _version(name)) != pin]
    said = f"{len(pins) - len(other)} of {len(pins)} as in requirements.txt" + "".join(f"; {text}" for text in other)
    yield Finding("packages", said, "pip install -r requirements.txt" if other else "")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name).partition("+")[0]  # without the build, +cu130
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        build = "CPUs" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
        return Finding(
            "GPU",
            f"none (PyTorch is built for {build})",
            "append demo.yaml for a small network, or take a machine with a GPU",
        )
    cards = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
    named = ", ".join(f"{card.name} {card.total_memory / _GB:.0f} GB" for card in cards)
    return Finding("GPU", f"{named}; {(gpu_free() or 0) / _GB:.1f} GB free on the first; CUDA {torch.version.cuda}")


def _memory() -> Iterator[Finding]:
    free = memory_free()
    if free is not None:
        few = "take --num_workers 0 and --cache <folder>" if free < _LEAST_MEMORY else ""
        yield Finding("memory", f"{free / _GB:.1f} GB free, {os.cpu_count()} processors", few)
    if os.path.isdir("/dev/shm"):
        shared = shutil.disk_usage("/dev/shm").total
        todo = "start the container with --ipc=host, or take --num_workers 0" if shared < _LEAST_SHARED else ""
        yield Finding("shared memory", f"{shared / _GB:.1f} GB in /dev/shm", todo)


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    todo = "make space there, or choose --output_dir, --model_dir and --cache elsewhere" if free < _LEAST_DISK else ""
    todo = todo if os.access(place, os.W_OK) else "it cannot be written: choose --output_dir and --model_dir elsewhere"
    return Finding("disk", f"{free / _GB:.0f} GB free at {place}", todo)


def _bf16() -> Finding:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = "multiplied by the hardware" if has_bf16(device) else "not multiplied by the hardware"
    return Finding("bf16", f"{found} ({device}): amp: auto is {'bf16' if has_bf16(device) else 'off'}")


def _readers() -> Iterator[Finding]:
    for what, module, packages in (
        ("NIfTI", "nibabel", "nibabel"),
        ("NRRD, MetaImage", "itk", "itk-io"),
        ("slides", "openslide", "openslide-python, openslide-bin"),
        ("SEG", "highdicom", "highdicom"),
        ("TIFF", "imagecodecs", "tifffile, imagecodecs"),
    ):
        wrong = _fails(module)
        todo = f"pip install {packages.replace(',', '')}" if wrong else ""
        yield Finding(what, wrong or f"read with {packages}", todo)
    missing = [syntax.name for syntax in _SYNTAXES if not get_decoder(syntax).is_available]
    said = f"{len(_SYNTAXES) - len(missing)} of {len(_SYNTAXES)} kinds of compression by pydicom"
    said += f"; not {', '.join(missing)}, which ITK tries" if missing else ""
    yield Finding("DICOM", said, "")
    without = [name for name in ("jpg", "zlib", "libtiff", "jpg_2000") if not features.check(name)]
    yield Finding("pictures", f"Pillow without {', '.join(without)}" if without else "JPEG, PNG, TIFF, JPEG 2000")


def _fails(module: str) -> str:
    """Why a module cannot be imported; "" where it can."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library that it loads is not there
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
