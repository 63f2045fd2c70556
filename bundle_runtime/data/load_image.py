"""One picture as MONAI Label and MONAI Deploy ask for it: read, then prepared as the lists of a run are."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from custom_components.augment import Pipeline
from monai.data import MetaTensor
from monai.transforms import LoadImaged, MapTransform

from .image_file import read_picture
from .image_prepare import Recipe, stretch, to_uint8, value_range


class LoadImagePictured(LoadImaged):
    """Read a picture of any kind that the bundle knows, as 8 bits, (C, H, W).

    MONAI Label puts its own reading around what is a `LoadImaged`, and MONAI Deploy, which has read the image, leaves
    out what has "LoadImage" in its name.
    """

    def __init__(self, keys: str = "image") -> None:
        super().__init__(keys, reader="PILReader")

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Return a copy of the item with a `MetaTensor`; a tool's reader is not taken.

        Raises:
            InputError: the file cannot be used.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            pixels = torch.from_numpy(np.array(read_picture(result[key]).pixels))
            result[key] = MetaTensor(pixels, meta={"filename_or_obj": str(result[key]), "original_channel_dim": 0})
        return result


class PreparePictured(MapTransform):
    """Equalise, resize and normalise one picture as a run does it with those of its lists.

    Args:
        keys: where the picture is: (C, H, W), or (C, W, H, 1) as a DICOM series of one image comes in MONAI Deploy.
            What is not of 8 bits is brought to them from its 0.1 to its 99.9 percentile, as in files.
        recipe: of the cache.
        pipeline: what the stage does to a batch.
    """

    def __init__(self, keys: str, recipe: Recipe, pipeline: Pipeline) -> None:
        super().__init__(keys)
        self.recipe, self.pipeline = recipe, pipeline

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the network's input (C, H', W') as a `MetaTensor` without a grid."""
        result = dict(data)
        for key in self.key_iterator(result):
            values = np.asarray(torch.as_tensor(result[key]).cpu())
            if values.ndim == 4:
                values = values[..., 0].swapaxes(1, 2)
            if values.dtype != np.uint8:
                values = to_uint8(stretch(values, *value_range(values)))
            pixels = torch.from_numpy(self.recipe.apply(np.ascontiguousarray(values)))
            result[key] = MetaTensor(self.pipeline(pixels[None])[0])
        return result
