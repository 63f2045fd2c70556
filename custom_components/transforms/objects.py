"""Dictionary transforms behind a network that segments pictures: single objects, and files that hold them."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from .instance_split import check_split, split_instances


class SplitInstancesd(Transform):
    """Number the objects of the class map "pred" (1, H, W) as "pred_instances", int32, as `split_instances` does.

    Args:
        method: "watershed" or "components".
        min_size: smallest object, pixels.
        min_distance: pixels between the centres of two objects.
    """

    def __init__(self, method: str = "watershed", min_size: int = 0, min_distance: int = 5) -> None:
        check_split(method, min_size, min_distance)
        self.method, self.min_size, self.min_distance = method, min_size, min_distance

    def describe(self) -> str:
        """How objects are parted, in words, for reports."""
        how = "connected components, corners connect"
        if self.method == "watershed":
            how = f"{how}, parted by a watershed on the distance to the background (peaks {self.min_distance} px apart)"
        return f"{how}; fewer than {max(self.min_size, 1)} px left out"

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the objects."""
        classes = torch.as_tensor(data["pred"])[0].cpu().numpy().astype(np.int32)
        objects = split_instances(classes, self.method, self.min_size, self.min_distance)
        return {**data, "pred_instances": torch.from_numpy(objects)[None]}
