"""Dictionary transforms behind a network that segments pictures: single objects, and files that hold them."""

import io
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from PIL import Image

from ..errors import InputError
from ..files import write_atomically
from ..instance_split import check_split, split_instances


class SplitInstancesd(Transform):
    """Number the objects of a predicted class map, as `split_instances` does.

    Args:
        method: "watershed" or "components".
        min_size: smallest object, pixels.
        min_distance: pixels between the centres of two objects.
        key: where the class map (1, H, W) is; the objects go to `<key>_instances`, int32 (1, H, W).
    """

    def __init__(self, method: str = "watershed", min_size: int = 0, min_distance: int = 5, key: str = "pred") -> None:
        check_split(method, min_size, min_distance)
        self.method, self.min_size, self.min_distance, self.key = method, min_size, min_distance, key

    def describe(self) -> str:
        """How objects are parted, in words, for reports."""
        how = "connected components, corners connect"
        if self.method == "watershed":
            how = f"{how}, parted by a watershed on the distance to the background (peaks {self.min_distance} px apart)"
        return f"{how}; fewer than {max(self.min_size, 1)} px left out"

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the objects."""
        classes = torch.as_tensor(data[self.key])[0].cpu().numpy().astype(np.int32)
        objects = split_instances(classes, self.method, self.min_size, self.min_distance)
        return {**data, f"{self.key}_instances": torch.from_numpy(objects)[None]}


class SaveMasksd(Transform):
    """Write a class map and the objects of a picture, each a PNG file on the picture's own grid.

    `<case>_classes.png` holds 8-bit class indices, `<case>_instances.png` 16-bit numbers of objects. A picture that a
    camera marked as turned is turned before, as viewers show it; so are these.

    Args:
        output_dir: made if missing.
        key: where the class map (1, H, W) is, its objects in `<key>_instances`.
        instances: write the objects as well.
    """

    def __init__(self, output_dir: str, key: str = "pred", instances: bool = True) -> None:
        self.output_dir, self.key, self.instances = Path(output_dir), key, instances

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files and return the item.

        Raises:
            InputError: there are more than 65,535 objects.
        """
        classes = torch.as_tensor(data[self.key])[0].cpu().numpy()
        self._write(f"{data['case']}_classes.png", classes.astype(np.uint8))
        if self.instances:
            objects = torch.as_tensor(data[f"{self.key}_instances"])[0].cpu().numpy()
            if objects.max(initial=0) > np.iinfo(np.uint16).max:
                raise InputError(
                    f"{objects.max()} objects are more than 16 bits can number; cut the picture into tiles"
                )
            self._write(f"{data['case']}_instances.png", objects.astype(np.uint16))
        return dict(data)

    def _write(self, name: str, values: np.ndarray) -> None:
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, format="png")
        write_atomically(self.output_dir / name, stream.getvalue())
