"""Read the volumes of an item, each file once: what is decoded is verified and handed on."""

import copy
import functools
import io
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor, NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary
from monai.transforms import LoadImage, LoadImaged, Transform

from .background import as_in_training
from .schema import as_list
from .sequences import sequence_names
from .verify import Found, Problem, show, unusable
from .verify_labels import read_label
from .verify_volumes import Expected, Images, check_roi, read_images

if TYPE_CHECKING:  # handed in by stages that have one
    from .record import Record


@functools.cache
def _monais() -> LoadImage:
    """MONAI's loader, for what it does behind a reader; it greets readers of other formats when it is made."""
    return LoadImage(reader="NibabelReader", image_only=True, dtype=np.float32, ensure_channel_first=True)


class _Decoded(NibabelReader):
    """MONAI's reader for an image whose file was read already; its metadata are MONAI's."""

    def __init__(self, image: Any, voxels: np.ndarray) -> None:
        super().__init__()
        self.image, self.voxels = correct_nifti_header_if_necessary(image), voxels

    def read(self, data: Any, **kwargs: Any) -> Any:
        self.filenames = data
        return self.image

    def _get_array_data(self, img: Any, filename: Any) -> np.ndarray:
        return self.voxels


class LoadVolumesd(Transform):
    """Read image and label of an item, verify them, and give them as `MetaTensor`s with MONAI's metadata.

    The image is float32 (C, X, Y, Z): the volumes of its file or files in their order or, with `sequences`, those that
    the network takes, matched by name and zeros where one may be missing. Files of other sequences are not opened. The
    label is float32 (1, X, Y, Z), as stored.

    Args:
        keys: "image", and "label" where it is wanted.
        header: also give, as "header", the bytes of the NIfTI header of the file that the image lies with.
        record: of the network's training, which volumes are compared with; it also knows the background.
        **expected: what the run wants, see `Expected`. Items then name their sequences, and that list leaves the item,
            as it would not collate.

    Raises:
        InputError: what is expected makes no sense.
    """

    def __init__(
        self,
        keys: Sequence[str] | str = ("image", "label"),
        header: bool = False,
        record: "Record | None" = None,
        **expected: Any,
    ) -> None:
        self.record = record
        self.label, self.header = "label" in as_list(keys if isinstance(keys, str) else list(keys)), header
        self.expected = Expected(**expected)
        if record is not None and self.expected.background is None:  # heads are prepared as in the training
            self.expected.background = as_in_training(record.about)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the volumes; warnings go to stderr, and become the item's "warning".

        The path of the file that the image lies with becomes the item's "file".

        Raises:
            InputError: the item cannot be used.
        """
        item, found = self.look(data)
        if found.failed:
            raise unusable(found)
        for difference in self.record.differences(found.facts) if self.record is not None else ():
            found.add("warning", found.image, difference)
        show(found.problems)
        return {**item, "warning": "; ".join(problem.message for problem in found.problems)}

    def look(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], Found]:
        """The same, and what was found; the item has no volumes where that is an error."""
        item: dict[Any, Any] = dict(data)
        files = as_list(item["image"])
        if "sequences" in item:
            item["sequences"] = sequence_names(item["sequences"], f"{files[0]}: sequences")
        found = Found(item.get("section", ""), item.get("case", files[0]), item.get("file", files[0]))
        found.unlabelled = list(item.get("unlabelled", []))
        wanted = item if self.label else {key: value for key, value in item.items() if key != "label"}
        images = read_images(found, wanted, self.expected)
        if images is None:
            return item, found
        check_roi(found, images.first, self.expected)
        label = read_label(found, wanted, images.first, self.expected, images.named)
        if found.failed:
            return item, found
        item.pop("sequences", None)
        headers = {file.path: _header_bytes(file.image) for file in images.files} if self.header else {}
        item["image"], item["file"] = self._image(images)
        if self.header:
            item["header"] = headers[item["file"]]
        if label.image is not None and label.values is not None:
            item["label"] = _tensor(data["label"], label.image, label.values)
        return item, found

    def sum_up(self, found: Sequence[Found]) -> list[Problem]:
        """What the cases of a list show together: nothing that a run looks for."""
        return []

    def _image(self, images: Images) -> tuple[MetaTensor, str]:
        """The channels of the network, and the file whose grid they lie on: the first of these."""
        volumes = [_tensor(file.path, file.image, file.voxels) for file in images.files]
        if self.expected.sequences is None:
            return MetaTensor(torch.cat([volume.as_tensor() for volume in volumes]), meta=volumes[0].meta), (
                images.files[0].path
            )
        planes = {
            name: (position, channel)
            for position, file in enumerate(images.files)
            for channel, name in enumerate(file.names or ())
        }
        held = [planes[name] for name in self.expected.sequences if name in planes]
        first = volumes[held[0][0]]
        missing = torch.zeros_like(first.as_tensor()[0])
        channels = [
            volumes[planes[name][0]].as_tensor()[planes[name][1]] if name in planes else missing
            for name in self.expected.sequences
        ]
        return MetaTensor(torch.stack(channels), meta=first.meta), images.files[held[0][0]].path


class LoadImageVolumesd(LoadVolumesd, LoadImaged):
    """`LoadVolumesd` of the images of an inference.

    MONAI Label puts its own reading around what is a `LoadImaged`, and MONAI Deploy, which has read the image, leaves
    out what has "LoadImage" in its name.

    Args:
        native: also keep the image as "native", for pictures.
        assumed_sequences: what the volumes of an item are that a tool hands over, which says nothing of them; a case
            of a datalist or folder says it.
        **settings: those of `LoadVolumesd`.
    """

    def __init__(self, native: bool = False, assumed_sequences: Sequence[str] | None = None, **settings: Any) -> None:
        LoadImaged.__init__(self, "image", reader="NibabelReader")
        super().__init__(keys="image", header=True, **settings)
        self.native, self.assumed = native, assumed_sequences

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """As `LoadVolumesd`; a tool's reader is not taken."""
        item = dict(data)
        if self.assumed is not None and "case" not in item:
            item.setdefault("sequences", self.assumed)
        result = super().__call__(item)
        result["image"].meta["original_channel_dim"] = 0  # for `EnsureChannelFirstd`
        return {**result, "native": copy.deepcopy(result["image"])} if self.native else result


def _tensor(path: str, image: Any, voxels: np.ndarray) -> MetaTensor:
    """(C, X, Y, Z) float32 with the metadata that MONAI reads."""
    return _monais()(path, reader=_Decoded(image, voxels))


def _header_bytes(image: Any) -> bytes:
    """Header and extensions of a file as they are stored."""
    stream = io.BytesIO()
    image.header.write_to(stream)
    return stream.getvalue()
