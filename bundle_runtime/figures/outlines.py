"""Pictures of segmentations of pictures: outlines of reference and prediction on the image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .masks import outline_figure
from .pictures import OverlayPictures, _file_name, _to_tensorboard


class OutlinePictures(OverlayPictures):
    """Draws the outlines of reference and prediction beside the first pictures of a validation, evaluation, inference.

    Arguments and file names are those of `OverlayPictures`. The image is uint8 (C, H, W) in the batch item, the label
    (absent in inference) and the prediction are class indices (1, H, W); "instances" of the batch item and
    "pred_instances" of the output item part objects that touch.
    """

    def _picture(self, epoch: int, item: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        case = str(item.get("case") or self._seen)
        path = self.folder / _file_name(epoch if self.epochs else None, case)
        maps = {}
        if self.label_key in item:
            maps["reference"] = (_plane(item[self.label_key]), _plane(item.get("instances")))
        maps["prediction"] = (_plane(result[self.pred_key]), _plane(result.get(f"{self.pred_key}_instances")))
        title = f"{case}, epoch {epoch}" if self.epochs else case
        outline_figure(np.asarray(item[self.image_key].cpu()), maps, path, self.class_names, title)
        _to_tensorboard(self.writer, f"overlay/{case}", path, epoch)


def _plane(values: torch.Tensor | None) -> Any:
    """(1, H, W) as an array of whole numbers (H, W); None stays."""
    return None if values is None else torch.as_tensor(values)[0].cpu().numpy().astype(np.int64)
