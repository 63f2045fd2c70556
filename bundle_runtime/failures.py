"""Why something failed, in one sentence: the user's mistake, what the machine lacked, or else the first cause."""

import errno
import io
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from custom_components.errors import InputError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO, errno.ENAMETOOLONG,
)  # fmt: skip


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on to the first one, following `__cause__` and `__context__`.

    MONAI wraps whatever a config item or a transform raises in a `RuntimeError`, so the reason is rarely the outermost.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` that caused `error`; None if there is none."""
    return next((cause for cause in causes(error) if isinstance(cause, InputError)), None)


def machine_sentence(error: BaseException | None) -> str | None:
    """What the machine lacked, memory or a place to write, and what to do; None where it was something else."""
    return next((text for cause in causes(error) if (text := _lack(cause)) is not None), None)


def _lack(error: BaseException) -> str | None:
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:
        return (
            "The GPU has too little memory; take a smaller --micro_batch (the update stays the same) or "
            "--activation_checkpointing true in a training, a smaller --sw_batch_size or --batch_size elsewhere."
        )
    # Of /dev/shm; Triton has a shared memory of its own.
    if any(part in text for part in ("out of shared memory", "memory (shm)", "</torch_", "Bus error")):
        size = shutil.disk_usage("/dev/shm").total / 1e6 if os.path.isdir("/dev/shm") else 0
        return (
            f"The loader processes ran out of shared memory (/dev/shm has {size:.3g} MB); start the container with "
            "--ipc=host or a larger --shm-size, or load in one process: --num_workers 0."
        )
    if "DataLoader worker" in text or "process pool" in text:
        return (
            "A loader process was killed, most likely because memory ran out; take fewer --num_workers, and in a "
            "training keep prepared data on disk: --cache <folder>."
        )
    allocation = "can't allocate memory" in text or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if isinstance(error, MemoryError) or allocation:
        return (
            "Memory ran out; take fewer --num_workers, a smaller --batch_size, and in a training keep prepared data on "
            "disk: --cache <folder>."
        )
    if isinstance(error, OSError) and (error.errno in (*DISK_FULL, *_CLOSED) or _made_no_folder(error)):
        place = error.filename or "the output"
        todo = "make space there" if error.errno in DISK_FULL else "see that an input may be read, an output be written"
        return (
            f"{place} cannot be used ({error.strerror}); {todo}, or choose another place for output with --output_dir, "
            "--model_dir or --out."
        )
    return None


def _made_no_folder(error: OSError) -> bool:
    """Whether a folder could not be made where there is none, as below /proc or behind a link that leads nowhere."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return error.errno == errno.ENOENT and bool(frames) and frames[-1][0].f_code.co_name in ("mkdir", "makedirs")


def unreadable(error: BaseException) -> str | None:
    """Why the machine did not let a file be read, which may be sound; None where it was something else."""
    if isinstance(error, OSError):
        return error.strerror or None
    said = machine_sentence(error)
    return None if said is None else said.removesuffix(".")


def sentence_of(error: BaseException) -> str:
    """Why something failed, in one line: the user's mistake, what the machine lacked, or else the first cause."""
    known = find_input_error(error)
    if known is not None:
        # Sent on from a DataLoader worker, the text carries the worker's traceback: only its last line is ours.
        return str(known).strip().rsplit(f"{InputError.__name__}: ", 1)[-1]
    first = list(causes(error))[-1]
    return machine_sentence(error) or f"{type(first).__name__}: {first}".strip().splitlines()[-1]


def _lost_target(error: BaseException) -> str | None:
    """What a config names and Python does not have, where that was it; MONAI says so deep in its traceback."""
    start = "Cannot locate class or function path: "
    lost = next((str(cause) for cause in causes(error) if isinstance(cause, ModuleNotFoundError)), "")
    if not lost.startswith(start):
        return None
    return f"A config has the _target_ {lost.removeprefix(start).rstrip('.')}, which is not there; correct the name."


def _print_sentence(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lost = _lost_target(error)
    if find_input_error(error) is None and machine_sentence(error) is None and lost is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"Error: {lost or sentence_of(error)}", file=sys.stderr)


def install_excepthook() -> None:
    """Let an uncaught `InputError`, or a machine that lacks something, end the process with a sentence, exit code 1.

    What a console cannot show is printed as an escape: the names of some files are no UTF-8.
    """
    sys.excepthook = _print_sentence
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
