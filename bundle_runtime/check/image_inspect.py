"""Look into many picture files at once: each is decoded by one of several processes, and only a few facts are kept."""

import hashlib
import io
import os
import sys
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pydicom
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from custom_components.errors import InputError

from ..data.image_file import PICTURE_SUFFIXES, read_bytes, read_picture
from ..dicom.picture import is_dicom

_CHUNK = 16  # files that a process takes at a time
_THUMBNAIL = 160  # longest side in pixels
_HEAD_BYTES = 132
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"GIF8")


class Seen(NamedTuple):
    """What was found in a file.

    Attributes:
        problem: why it cannot be used; "" if it can. The rest is only filled then.
        kind: as `image_file.Picture` has it.
        height: in pixels, as `width`.
        width: in pixels.
        digest: of the decoded pixels; a picture that was stored again without loss has the same.
        constant: whether all pixels are equal.
        patient: the patient id of a DICOM header, or "".
        modality: of a DICOM header, such as CR, or "".
        view: the view position of a DICOM header, such as PA or LL, or "".
        thumbnail: a small JPEG where one was asked for, or b"".
    """

    problem: str = ""
    kind: str = ""
    height: int = 0
    width: int = 0
    digest: bytes = b""
    constant: bool = False
    patient: str = ""
    modality: str = ""
    view: str = ""
    thumbnail: bytes = b""


def is_picture_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture or DICOM, by its ending, or by its first bytes where the ending says nothing."""
    name = os.fspath(path)
    if name.lower().endswith(PICTURE_SUFFIXES):
        return True
    try:
        with open(name, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:  # it does not exist, or is a folder: nothing speaks for a picture, and whoever reads it says so
        return False
    return is_dicom(head) or head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def inspect_files(
    files: Sequence[str], thumbnails: Collection[int] = (), num_workers: int = 0, progress: bool = True
) -> list[Seen]:
    """Decode every file once.

    Args:
        files: their paths.
        thumbnails: positions in `files` of those that get one.
        num_workers: processes that decode; 0 decodes in this one.
        progress: show a progress bar on stderr.

    Returns:
        For each file what it holds, in the order of `files`.
    """
    chunks = [range(start, min(start + _CHUNK, len(files))) for start in range(0, len(files), _CHUNK)]
    loader: DataLoader = DataLoader(
        _Inspector(files, chunks, frozenset(thumbnails)),
        batch_size=None,
        num_workers=min(num_workers, len(chunks)),
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # its own: a check must not shift the random numbers of the run
    )
    found: list[Seen] = []
    with tqdm(total=len(files), desc="check", unit="file", file=sys.stderr, disable=not progress) as bar:
        for part in loader:
            found += part
            bar.update(len(part))
    return found


class _Inspector(Dataset):
    """Element `i` is what the files of chunk `i` hold."""

    def __init__(self, files: Sequence[str], chunks: Sequence[range], thumbnails: frozenset[int]) -> None:
        self.files, self.chunks, self.thumbnails = files, chunks, thumbnails

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> list[Seen]:
        return [_inspect(self.files[index], index in self.thumbnails) for index in self.chunks[number]]


def _inspect(file: str, with_thumbnail: bool) -> Seen:
    try:
        content = read_bytes(file)
        pixels, kind = read_picture(file, content)
    except InputError as error:
        return Seen(problem=str(error).removeprefix(f"{file}: ").removesuffix("."))
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    height, width = pixels.shape[1:]
    constant = bool(pixels.min() == pixels.max())
    header = _header(content) if kind.startswith("DICOM") else ("", "", "")
    thumbnail = _thumbnail(pixels) if with_thumbnail else b""
    return Seen("", kind, height, width, digest.digest(), constant, *header, thumbnail)


def _header(content: bytes) -> tuple[str, str, str]:
    """Patient, modality and view of a DICOM file that could be decoded; "" where it says nothing."""
    tags: list[Any] = ["PatientID", "Modality", "ViewPosition"]
    header = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True, specific_tags=tags)
    patient, modality, view = (str(header.get(tag) or "").strip() for tag in tags)
    return patient, modality, view


def _thumbnail(pixels: np.ndarray) -> bytes:
    """uint8 (1 or 3, H, W) -> JPEG."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=85)
    return stream.getvalue()


def _as_it_is(found: Any) -> Any:
    """Keeps the loader from turning what was found into tensors; a named function, so that workers can be spawned."""
    return found
