"""Files that a reader never sees half of, and folders that do not outlive the process."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: str | bytes) -> Path:
    """Write `data` to `path`: under the final name there is either the whole new file or what was there before.

    Args:
        path: The final name; missing parent folders are made.
        data: Text (written as UTF-8) or bytes.

    Returns:
        `path`.

    Raises:
        OSError: Nothing could be written (disk full, no permission); the temporary file is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The temporary file lies beside the final one: a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files; results are meant to be read
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


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
