"""Files that a reader never sees half of, as JSON and CSV too; text tables; folders that do not outlive the process."""

import atexit
import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

_LONGEST = 223  # bytes of a name: file systems take 255, and `epoch_00012_` or `_r123456_c123456.png` are added to it


def write_atomically(path: str | os.PathLike[str], data: str | bytes | Callable[[BinaryIO], Any]) -> Path:
    """Write `data` to `path`: under the final name there is either the whole new file or what was there before.

    A process that is killed while it writes leaves a file whose name begins with `.<name>.` beside it.

    Args:
        path: The final name; missing parent folders are made.
        data: Text (written as UTF-8), bytes, or what writes them to the open file.

    Returns:
        `path`.

    Raises:
        OSError: Nothing could be written (disk full, no permission); the temporary file is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The temporary file lies beside the final one: a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(prefix=f".{short_name(target.name)}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            if callable(data):
                data(stream)
            else:
                # A file's name that is no UTF-8 becomes an escape, which JSON reads back.
                stream.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files; results are meant to be read
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)  # a full disk does not say where it is
        raise
    return target


def file_name(text: str) -> str:
    """A text as files can be called: letters of any script, digits, `.`, `_` and `-` stay."""
    return re.sub(r"[^\w.-]+", "_", text)


def short_name(name: str) -> str:
    """A name that files can begin with: one that is too long for file systems ends in a hash of the whole instead.

    Different names stay different; tables hold the whole one.
    """
    content = name.encode(errors="surrogateescape")
    if len(content) <= _LONGEST:
        return name
    mark = f"-{hashlib.sha256(content).hexdigest()[:12]}"
    return content[: _LONGEST - len(mark)].decode(errors="ignore") + mark


def json_ready(value: Any, text: Callable[[Any], str] = str) -> Any:
    """A value as strict JSON holds it: what is not finite is None, tuples are lists, keys are texts.

    Args:
        value: Mappings, lists, tuples and what they hold.
        text: Makes a text of whatever else is no number, truth value or None; texts pass through it too.
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(entry, text) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(entry, text) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else text(value)


def write_json(
    path: str | os.PathLike[str], value: Any, text: Callable[[Any], str] = str, ensure_ascii: bool = True
) -> Path:
    """Write what `json_ready` makes of `value`, indented, with `write_atomically`."""
    content = json.dumps(json_ready(value, text), indent=2, ensure_ascii=ensure_ascii)
    return write_atomically(path, content + "\n")


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]], header: bool = True) -> str:
    """Rows as CSV text: None and NaN are empty cells, and of a mapping the columns are taken, empty where it has none.

    Args:
        columns: Their names.
        rows: A sequence in the order of the columns, or a mapping by their names.
        header: Begin with a line of the names.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for row in rows:
        cells = [row.get(name) for name in columns] if isinstance(row, Mapping) else row
        writer.writerow([None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])
    return stream.getvalue()


def write_csv(
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]
) -> Path:
    """Write a table (see `csv_text`) with `write_atomically`."""
    return write_atomically(path, csv_text(columns, rows))


def aligned(lines: Sequence[Sequence[str]], rule: bool = True) -> str:
    """Lines of cells as a plain-text table: columns of equal width, with `rule` a rule under the first line."""
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(max(map(len, lines)))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]] if rule else texts)


def temporary_folder(parent: str | os.PathLike[str], prefix: str = ".temporary-") -> str:
    """Make a folder that is removed when this process ends, also after a failure.

    Args:
        parent: Where it is made; made if missing. A system's own place for temporary files may be small.
        prefix: How its name begins.

    Returns:
        Its path.

    Raises:
        OSError: It cannot be made.
    """
    Path(parent).mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    atexit.register(_remove_folder, folder, os.getpid())
    return folder


def _remove_folder(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker inherits what its parent registered
        shutil.rmtree(folder, ignore_errors=True)
