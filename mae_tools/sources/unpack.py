"""Pictures that a source has to make because the release holds them in another form: each written once, as PNG."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bundle_runtime.files import short_name
from custom_components.errors import InputError
from PIL import Image


class Unpacked:
    """The folder that made pictures lie in.

    A picture appears under its name when it is whole, so that an unpacking that was interrupted goes on where it was.

    Args:
        base: the data folder, which the paths of the datalist start from.
        folder: inside it, or any other; made with the first picture.
        key: the setting that names it, for messages.
        compress_level: of zlib, 0 to 9.
        renew: make pictures that are there anew.

    Attributes:
        written: how many pictures were made; others were there.
    """

    def __init__(self, base: Path, folder: str | Path, key: str, compress_level: int = 4, renew: bool = False) -> None:
        self.folder = Path(os.path.abspath(base / folder))
        self.key, self.compress_level, self.renew, self.written = key, compress_level, renew, 0
        inside = Path(os.path.relpath(self.folder, base)).as_posix()
        self._listed = self.folder.as_posix() if inside.startswith("..") else inside

    def add(self, name: str, make: Callable[[], np.ndarray], source: str | Path) -> str:
        """Make a picture unless it is there and no older than its source.

        Args:
            name: its path in the folder.
            make: gives uint8 or uint16 (H, W), or uint8 (H, W, 3).
            source: the file that it is made of.

        Returns:
            Its path for the datalist.

        Raises:
            InputError: it cannot be written.
        """
        path = self.folder / name
        there = not self.renew and path.is_file() and path.stat().st_size
        if not (there and path.stat().st_mtime_ns >= os.stat(source).st_mtime_ns):
            self._write(path, make())
            self.written += 1
        return f"{self._listed}/{name}"

    def _write(self, path: Path, pixels: np.ndarray) -> None:
        # Not `write_atomically`: to wait for the disk after each of 300,000 tiles would take hours.
        temporary = path.with_name(f".{short_name(path.name)}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(temporary, format="PNG", compress_level=self.compress_level)
            os.replace(temporary, path)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror or error}); give another folder with {self.key}."
            ) from error
        finally:  # also when it is interrupted
            if temporary.exists():
                temporary.unlink()
