"""The one exception for mistakes in data, files or settings, and how it reaches the person who made them."""

import sys
from types import TracebackType


class InputError(ValueError):
    """Something the user gave is wrong: a file, a datalist, a setting, a checkpoint.

    The message is one clear sentence: which file or key, what was found, what was expected, what to do.
    """


def find_input_error(error: BaseException | None) -> InputError | None:
    """Return the `InputError` that caused `error`, following `__cause__` and `__context__`; None if there is none.

    MONAI wraps whatever a config item raises in a `RuntimeError`, so the sentence is rarely the outermost error.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _print_sentence(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    found = find_input_error(error)
    if found is None:
        sys.__excepthook__(kind, error, trace)
    else:
        # Sent on from a DataLoader worker, the text carries the worker's traceback: only its last line is ours.
        text = str(found).strip()
        marker = f"{InputError.__name__}: "
        print(f"Error: {text.rsplit(marker, 1)[-1]}", file=sys.stderr)


def install_excepthook() -> None:
    """Let an uncaught `InputError`, however deeply wrapped, end the process with its sentence alone, exit code 1."""
    sys.excepthook = _print_sentence
