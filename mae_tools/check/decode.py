"""Look into many picture files at once: each is decoded by one of several processes, and only a few facts are kept."""

import io
import sys
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from bundle_runtime.data.image_file import Picture, read_picture
from bundle_runtime.data.verify import sentence
from bundle_runtime.data.verify_pictures import Seen
from custom_components.errors import InputError

from ..copies import picture_digest

_CHUNK = 16  # files that a process takes at a time
_THUMBNAIL = 160  # longest side in pixels


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
        picture = read_picture(file)
    except InputError as error:
        return Seen(problem=sentence(error, file))
    return look(picture)._replace(thumbnail=_thumbnail(picture.pixels) if with_thumbnail else b"")


def look(picture: Picture) -> Seen:
    """The facts of a decoded picture."""
    pixels = picture.pixels
    height, width = pixels.shape[1:]
    constant = bool(pixels.min() == pixels.max())
    # Made 8-bit with a loss, which must not hide that the same was stored in 8 bits.
    stored = pixels if picture.numbers is None else picture.numbers[None]
    return Seen("", picture.kind, height, width, picture_digest(stored), constant, *picture.header)


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
