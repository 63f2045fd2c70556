"""Prepared items as plain tensors, and their cache on disk: one file per item, named by all it came from."""

import functools
import hashlib
import io
import os
import pickle
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import monai
import numpy as np
import torch
from custom_components import __version__
from monai.data import MetaTensor
from torch import Tensor

from ..files import write_atomically
from .cache_folder import CacheFolder
from .find import DICOM
from .verify import Found, parts_of

# What `torch.load` raises for a file that is cut short, empty, or not one of ours.
BROKEN_FILE = (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


class Prepared(NamedTuple):
    """The result of the deterministic transforms for one item.

    Attributes:
        item: dicts, lists, plain tensors, numbers and strings only.
        affines: for each image of a dict item its (4, 4) voxel-to-world matrix in millimetres (RAS), by key.
        found: what reading it showed, as `Found.to_plain` gives it; None where nobody looked.
    """

    item: Any
    affines: dict[str, Tensor]
    found: dict[str, Any] | None = None

    @classmethod
    def of(cls, item: Any, found: Found | None = None) -> "Prepared":
        """Take the metadata off a transformed item, keeping the affines."""
        entries = item.items() if isinstance(item, dict) else ()
        affines = {key: value.affine.detach().clone() for key, value in entries if isinstance(value, MetaTensor)}
        return cls(to_plain(item), affines, None if found is None else found.to_plain())

    def with_meta(self) -> Any:
        """The item with `MetaTensor` images again; their metadata is the affine alone."""
        if not isinstance(self.item, dict):
            return self.item
        images = {key: MetaTensor(self.item[key], affine=affine) for key, affine in self.affines.items()}
        return {**self.item, **images}


def to_plain(value: Any, key: str = "item") -> Any:
    """Reduce an item to dicts, lists, plain tensors, numbers and strings.

    Arrays become tensors, `MetaTensor`s lose their metadata. A tensor that is a view of a larger one is copied, so that
    neither a file nor another process receives the whole volume behind a crop.

    Raises:
        TypeError: a value is of another kind; the message gives its key.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        tensor = value.as_tensor() if isinstance(value, MetaTensor) else value
        tensor = tensor.detach().contiguous()
        return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
    if isinstance(value, Mapping):
        return {name: to_plain(entry, str(name)) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry, key) for entry in value]
    raise TypeError(f"A prepared item may hold tensors, numbers, text, lists and dicts; '{key}' is a {type(value)}.")


def describe(value: Any, _open: tuple[int, ...] = ()) -> str:
    """Text that is equal for equal configurations in every process, and differs when a parameter differs.

    Objects are walked through their attributes: pickles of equal objects can differ from process to process (the order
    of sets, which strings are shared), and a default `repr` holds an address.

    Raises:
        pickle.PicklingError: something that can neither be walked nor pickled.
    """
    if id(value) in _open:
        return "cycle"
    inner = functools.partial(describe, _open=(*_open, id(value)))
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.device, np.dtype)):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, (Path, np.generic)):
        return f"{value}"
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, (np.ndarray, Tensor)):
        array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
        return f"array:{array.dtype}:{array.shape}:{hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{inner(key)}={inner(entry)}" for key, entry in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "set(" + ",".join(sorted(map(inner, value))) + ")"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(inner, value)) + "]"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)},{inner(value.args)},{inner(value.keywords)})"
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = (value.__code__, value.__defaults__, value.__kwdefaults__, cells)
        return f"{value.__module__}.{value.__qualname__}({inner(parts)})"
    if isinstance(value, types.CodeType):
        return inner((value.co_code, value.co_names, value.co_consts))
    if isinstance(value, types.MethodType):
        return f"{inner(value.__self__)}.{value.__name__}"
    if isinstance(value, (type, types.BuiltinFunctionType, np.ufunc)):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    if hasattr(value, "__dict__"):
        return f"{inner(type(value))}({inner(vars(value))})"
    return f"{inner(type(value))}({hashlib.sha256(pickle.dumps(value)).hexdigest()})"


def files_of(item: Any) -> Iterator[Path]:
    """Every file that an item names, anywhere in it, with what belongs to it.

    That is all files of a folder (a DICOM series), those beside a DICOM file (others of its series), and the voxels of
    a header.
    """
    if isinstance(item, Mapping):
        item = list(item.values())
    if isinstance(item, (list, tuple)):
        for entry in item:
            yield from files_of(entry)
    elif isinstance(item, (str, Path)) and item:
        if os.path.isfile(item):
            path = Path(item)
            beside = os.sep in str(item) and (path.suffix.lower() in DICOM or not path.suffix[1:].isalpha())
            series = sorted(file for file in path.parent.iterdir() if file.is_file()) if beside else []
            yield from series or map(Path, parts_of(str(item)))
        elif os.sep in str(item) and os.path.isdir(item):  # a bare word such as a class name is no folder
            yield from sorted(path for path in Path(item).rglob("*") if path.is_file())


class DiskCache:
    """Prepared items in a folder, shared by processes and runs.

    A file's name is a digest of the item, of size and modification time of every file it names, of the deterministic
    transforms with all their parameters, and of the versions of MONAI and this package: whatever changes, the item is
    prepared anew. Files are written atomically and hold tensors and primitives only.

    Args:
        folder: made if it does not exist.
        transforms: the deterministic transforms.

    Raises:
        InputError: `folder` cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], transforms: Any) -> None:
        self._place = CacheFolder(folder)
        self._place.make()
        self.folder = self._place.path
        self._recipe = describe([__version__, monai.__version__, transforms])

    def path(self, item: Any) -> Path:
        """Where the prepared form of `item` is, or will be."""
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(item)]
        return self.folder / f"{hashlib.sha256(describe([item, stats, self._recipe]).encode()).hexdigest()}.pt"

    def read(self, path: Path) -> Prepared | None:
        """Read a file of this cache; None, with a warning if it is broken, when there is nothing usable.

        Tensors stay on disk and are mapped privately: a crop reads only its own pages, and writing into a tensor
        changes neither the file nor what others read.
        """
        if not path.exists():
            return None
        try:
            return Prepared(**torch.load(path, weights_only=True, mmap=True))
        except (*BROKEN_FILE, TypeError) as error:
            warnings.warn(f"The cache file {path} is broken and is made anew ({error}).", stacklevel=2)
            return None

    def write(self, path: Path, prepared: Prepared) -> None:
        """Store a prepared item.

        Raises:
            InputError: the disk is full, or the folder may not be written.
        """
        buffer = io.BytesIO()
        torch.save(prepared._asdict(), buffer)
        with self._place.writing(buffer.tell()):
            write_atomically(path, buffer.getvalue())
