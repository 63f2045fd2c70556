"""Look into many picture files at once: each is decoded by one of several processes, and only a few facts are kept."""

import sys
from collections.abc import Collection, Sequence
from typing import Any

from bundle_runtime.data.image_file import Picture, read_picture
from bundle_runtime.data.verify import sentence
from bundle_runtime.data.verify_pictures import Seen
from bundle_runtime.pages.page import thumbnail
from custom_components.errors import InputError
from tqdm import tqdm
from tqdm.contrib.concurrent import process_map

from ..copies import picture_digest
from .tones import tones_of

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
    chosen = set(thumbnails)
    wanted = [index in chosen for index in range(len(files))]
    bar: dict[str, Any] = {"desc": "check", "unit": "file", "file": sys.stderr, "disable": not progress}
    if not num_workers:
        return [_inspect(*job) for job in tqdm(zip(files, wanted, strict=True), total=len(files), **bar)]
    return process_map(_inspect, files, wanted, max_workers=num_workers, chunksize=_CHUNK, **bar)


def _inspect(file: str, with_thumbnail: bool) -> Seen:
    try:
        picture = read_picture(file)
    except InputError as error:
        return Seen(problem=sentence(error, file))
    return look(picture)._replace(thumbnail=thumbnail(picture.pixels, _THUMBNAIL) if with_thumbnail else b"")


def look(picture: Picture) -> Seen:
    """The facts of a decoded picture."""
    # Made 8-bit with a loss, which must not hide that the same was stored in 8 bits.
    stored = picture.pixels if picture.numbers is None else picture.numbers[None]
    return Seen.of(picture)._replace(digest=picture_digest(stored), tones=tones_of(picture.pixels))
