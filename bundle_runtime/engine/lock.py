"""Folders that a training writes into are its own while it runs: a second one is refused from its first second on."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main, say
from custom_components.errors import InputError

NAME = ".training-in-progress"


@contextmanager
def in_use(*folders: Path) -> Iterator[None]:
    """Hold folders, made if missing, as long as the block runs; in a distributed run the main process does.

    A lock is a file that says which process holds it. That of a process of this machine that is gone is taken over;
    that of another machine, from where nothing can be known of its processes, is believed.

    Raises:
        InputError: another training holds one of them.
    """
    with ExitStack() as held:
        for folder in dict.fromkeys(map(Path.absolute, folders)) if is_main() else ():
            held.enter_context(_held(folder))
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / NAME
    holder = {"pid": os.getpid(), "born": _born(os.getpid()), "host": socket.gethostname(), "since": _now()}
    while True:
        try:
            with lock.open("x") as stream:  # fails where it is there, also on a network drive
                json.dump(holder, stream)
            break
        except FileExistsError:
            _refuse_unless_stale(folder, lock)
            lock.unlink(missing_ok=True)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _refuse_unless_stale(folder: Path, lock: Path) -> None:
    try:
        holder: dict[str, Any] = json.loads(lock.read_text())
        pid, born, host, since = (holder[key] for key in ("pid", "born", "host", "since"))
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{lock}: another training is starting in {folder}, or died doing so; if none runs, remove this file."
        ) from None
    if host != socket.gethostname():
        raise InputError(
            f"{folder} is in use by a training on {host} since {since}; take another --output_dir and --model_dir, or "
            f"if that one has ended, remove {lock}."
        )
    if born is not None and _born(pid) == born:
        raise InputError(
            f"{folder} is in use by a training that runs since {since} (process {pid}); wait for it, or take another "
            "--output_dir and --model_dir."
        )
    say(f"Note: the training that held {folder} since {since} is gone (process {pid}); its lock is taken over.")


def _born(pid: int) -> str | None:
    """What tells a process from a later one with its number: when it was started; None where there is no process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # somebody else's
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):  # no Linux: its number has to do
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
