"""MRI sequences of one case, matched by name, as the channels of one image."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Transform

from custom_components.errors import InputError

from ..check.check_grid import GRID_TOLERANCE
from .schema import as_list
from .sequences import sequence_names
from .volume import corner_shift


class LoadSequencesd(Transform):
    """Read the sequences of a case as the channels of one image, in the order that the network wants.

    The item's `image` is a path, a list of paths with one sequence each, or a 4-D file; its `sequences` names what
    these hold, in their order. Sequences are matched by name, never by position. One that the network does not read is
    left out (a file of its own is not even opened). The list `sequences` leaves the item, as it would not collate.

    Args:
        sequences: the channels, e.g. [flair, t1, t1ce, t2], in any spelling that `data.sequences` knows.
        allow_missing: fill a sequence that the case lacks with zeros, with a warning, instead of refusing the case.
        key: where the path or paths are; replaced by a float32 `MetaTensor` (len(sequences), X, Y, Z).
        file_key: gets the path of the file whose grid the image has, the first one that was read.
    """

    def __init__(
        self, sequences: Sequence[str], allow_missing: bool = False, key: str = "image", file_key: str = "file"
    ) -> None:
        self.sequences, self.allow_missing = sequence_names(sequences), allow_missing
        self.key, self.file_key = key, file_key
        self.load = LoadImage(reader="NibabelReader", dtype=np.float32, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the image and the file that it lies with.

        Raises:
            InputError: the item does not name its sequences, names another number than there are, lacks one, or the
                files lie on different grids.
        """
        item = dict(data)
        files = [str(file) for file in as_list(item[self.key])]
        if not item.get("sequences"):
            raise InputError(
                f"{files[0]}: the item does not say which sequences its files hold; add 'sequences' to the datalist, "
                f"such as {self.sequences}."
            )
        held = sequence_names(item.pop("sequences"), f"{files[0]}: 'sequences'")
        wanted = self._wanted(held, files[0])
        volumes = self._volume_of_each(files, held, wanted) if len(files) > 1 else self._one_file(files[0], held)
        first = volumes[wanted[0]]
        missing = torch.zeros_like(first.as_tensor())
        channels = [volumes[name].as_tensor() if name in wanted else missing for name in self.sequences]
        item[self.file_key] = files[held.index(wanted[0])] if len(files) > 1 else files[0]
        item[self.key] = MetaTensor(torch.stack(channels), meta=first.meta)
        return item

    def _wanted(self, held: list[str], file: str) -> list[str]:
        """Those of the network's sequences that the case has."""
        wanted = [name for name in self.sequences if name in held]
        absent = ", ".join(name for name in self.sequences if name not in held)
        if not wanted or (absent and not self.allow_missing):
            advice = "add it, or set allow_missing_sequences to fill with zeros" if wanted else "correct 'sequences'"
            raise InputError(f"{file}: the case holds {', '.join(held)} and lacks {absent}, which is read; {advice}.")
        if absent:
            warnings.warn(f"{file}: the case lacks {absent}; zeros stand in for it.", stacklevel=3)
        return wanted

    def _volume_of_each(self, files: list[str], held: list[str], wanted: list[str]) -> dict[str, MetaTensor]:
        """One file a sequence: those wanted as (X, Y, Z), on one grid."""
        if len(files) != len(held):
            raise InputError(
                f"{files[0]}: the item lists {len(files)} files and {len(held)} sequences ({', '.join(held)}); "
                "expected one file for each."
            )
        volumes: dict[str, MetaTensor] = {}
        for name in wanted:
            file = files[held.index(name)]
            volume = self.load(file)
            if len(volume) != 1:
                raise InputError(f"{file}: holds {len(volume)} volumes; expected one, as the item lists several files.")
            volumes[name] = volume[0]
            _check_grid(volumes[wanted[0]], volumes[name], files[held.index(wanted[0])], file)
        return volumes

    def _one_file(self, file: str, held: list[str]) -> dict[str, MetaTensor]:
        """One file of several volumes (or of one): each as (X, Y, Z)."""
        image = self.load(file)
        if len(image) != len(held):
            raise InputError(
                f"{file}: holds {len(image)} volume(s), but the item names {len(held)} sequence(s) "
                f"({', '.join(held)}); make the two agree."
            )
        return {name: image[index] for index, name in enumerate(held)}


def _check_grid(first: MetaTensor, other: MetaTensor, first_file: str, file: str) -> None:
    """Refuse a volume that does not lie on the grid of the first one."""
    if first.shape != other.shape:
        raise InputError(
            f"{file}: has shape {tuple(other.shape)}, but {first_file} has {tuple(first.shape)}; register and resample "
            "the sequences of a case to one grid."
        )
    shift = corner_shift(first.affine.numpy(), other.affine.numpy(), first.shape)
    if not shift <= GRID_TOLERANCE:  # this way round NaN is refused too
        raise InputError(
            f"{file}: lies {shift:.1f} voxels off the grid of {first_file}; register and resample the sequences of a "
            "case to one grid."
        )
