"""Class maps and objects of pictures as PNG files."""

import io
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from monai.transforms import MapTransform, SaveImaged
from PIL import Image

from ..files import short_name, write_atomically


class SaveImageMasksd(SaveImaged):
    """Write a class map and the objects of a picture, each a PNG file on the picture's own grid.

    `<case>_classes.png` holds 8-bit class indices, `<case>_instances.png` 16-bit numbers of objects. A picture that a
    camera marked as turned is turned before, as viewers show it; so are these.

    Args:
        output_dir: made if missing.
        key: where the class map (1, H, W) is, its objects in `<key>_instances`.
        instances: write the objects as well.
    """

    def __init__(self, output_dir: str, key: str = "pred", instances: bool = True) -> None:
        MapTransform.__init__(self, key)
        self.output_dir, self.key, self.instances = Path(output_dir), key, instances

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files and return the item.

        Raises:
            InputError: there are more than 65,535 objects.
        """
        name = short_name(data["case"])
        classes = torch.as_tensor(data[self.key])[0].cpu().numpy()
        self._write(f"{name}_classes.png", classes.astype(np.uint8))
        if self.instances:
            objects = torch.as_tensor(data[f"{self.key}_instances"])[0].cpu().numpy()
            if objects.max(initial=0) > np.iinfo(np.uint16).max:
                raise InputError(
                    f"{objects.max()} objects are more than 16 bits can number; cut the picture into tiles"
                )
            self._write(f"{name}_instances.png", objects.astype(np.uint16))
        return dict(data)

    def _write(self, name: str, values: np.ndarray) -> None:
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, format="png")
        write_atomically(self.output_dir / name, stream.getvalue())
