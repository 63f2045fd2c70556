"""The folder of a cache: made, compared with the settings that it was made with, and what to do when it is full."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from custom_components.errors import InputError

from ..files import write_json

_FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheFolder:
    """A folder that caches share, with sentences for what can go wrong there.

    Args:
        path: made by `make`.
        settings: what decides on its content; None where the files in it say that themselves.
        version: of their form, compared first.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: Mapping[str, Any] | None = None, version: int = 1
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.settings, self.version = settings, version

    def make(self) -> None:
        """Make the folder, or see that it was made with the same settings.

        Raises:
            InputError: it cannot be made, or was made with other settings or by another version.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            if self.settings is not None:
                self._check(self.settings)

    def _check(self, settings: Mapping[str, Any]) -> None:
        path = self.path / "settings.json"
        if not path.exists():
            write_json(path, {"format": self.version, **settings})
            return
        try:
            noted = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(f"cache: {path} is damaged ({error}); remove the folder or name another one.") from error
        if noted.pop("format", None) != self.version:
            raise InputError(
                f"cache: the folder {self.path} was made by another version of this program; remove it, or name "
                "another one with --cache <another folder>: it is made anew."
            )
        other = [key for key in {**settings, **noted} if settings.get(key) != noted.get(key)]
        if other:
            listed = "; ".join(
                f"{key}: {_said(noted.get(key))} there, {_said(settings.get(key))} here" for key in other
            )
            raise InputError(
                f"cache: the folder {self.path} was made with other settings ({listed}); name another one with "
                "--cache <another folder>, remove this one, or go back to its settings."
            )

    @contextmanager
    def writing(self, needed: Callable[[], int] | int = 0) -> Iterator[None]:
        """Say in a sentence why the folder cannot be written.

        Args:
            needed: bytes that are still to come.

        Raises:
            InputError: in place of an `OSError`.
        """
        try:
            yield
        except OSError as error:
            self.stop(error.errno or 0, error.strerror or str(error), needed if isinstance(needed, int) else needed())

    def require(self, needed: int) -> None:
        """Refuse to start where the disk has too little space.

        Raises:
            InputError: fewer than `needed` bytes are free.
        """
        if shutil.disk_usage(self.path).free < needed:
            self.stop(errno.ENOSPC, "not enough space", needed)

    def stop(self, number: int, reason: str, needed: int) -> NoReturn:
        """The sentence for an error number of the system, as an `InputError`."""
        if number in _FULL:
            free = shutil.disk_usage(self.path).free
            raise InputError(
                f"cache: the disk of {self.path} is too full: what is still to be cached needs {needed} bytes "
                f"({needed / 1e9:.2f} GB), {free} bytes ({free / 1e9:.2f} GB) are free; free some space and start "
                "again (what is finished is kept), or name another folder."
            )
        raise InputError(f"cache: the folder {self.path} cannot be used ({reason}); name one that can be written.")


def _said(value: Any) -> str:
    return "unset" if value is None else str(value)
