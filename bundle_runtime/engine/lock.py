"""Folders that a run writes into are its own while it lasts: a second one is refused from its first second on."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from custom_components.distributed import is_main, say
from custom_components.errors import InputError

NAME = ".training-in-progress"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def in_use(*folders: Path) -> Iterator[None]:
    """Hold folders, made if missing, as long as the block runs; in a distributed run the main process does.

    The system locks a file in the folder until its process ends, whatever container that runs in, and the file says who
    it is. One that this machine, or a container on it, left without a lock is taken over; that of another machine is
    believed, since not every network drive passes locks on.

    Raises:
        InputError: another run holds one of them.
    """
    with ExitStack() as held:
        for folder in dict.fromkeys(map(Path.resolve, folders)) if is_main() else ():
            held.enter_context(_held(folder))
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / NAME
    with closing(_locked(lock)) as stream:
        os.register_at_fork(after_in_child=stream.close)  # a loader process that outlives its parent holds nothing
        since = datetime.now(UTC).isoformat(timespec="seconds")
        stream.truncate(0)
        json.dump({"pid": os.getpid(), **_machine(), "since": since}, stream)
        stream.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _locked(lock: Path) -> TextIO:
    while True:
        stream = lock.open("a+", encoding="utf-8")
        held, lockable = False, True
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = True
        except OSError:  # a file system without locks, where only the file tells
            lockable = False
        if os.fstat(stream.fileno()).st_nlink:
            break
        stream.close()  # its holder has ended in this moment
    stream.seek(0)
    try:
        holder: dict[str, Any] = dict(json.loads(stream.read()))
    except (ValueError, TypeError):  # not yet written, or not to its end
        holder = {}
    own = not holder or any(holder.get(key) == value for key, value in _machine().items())
    where = "" if own else f" on {holder.get('host')}"
    who = f"since {holder.get('since', 'a moment ago')} (process {holder.get('pid', 'unknown')})"
    if held or not own or (holder and not lockable):
        stream.close()
        raise InputError(
            f"{lock.parent} is in use by a run{where} {who}; wait for it, or take another"
            f" --output_dir and --model_dir{'' if held else f'; if that run has ended, remove {lock}'}."
        )
    if holder:
        say(f"Note: the run that held {lock.parent} {who} is gone; its lock is taken over.")
    return stream


def _machine() -> dict[str, str]:
    """What tells a machine: its name, which each container has of its own, and the start of the kernel they share."""
    return {"host": socket.gethostname(), **({"boot": _BOOT.read_text().strip()} if _BOOT.is_file() else {})}
