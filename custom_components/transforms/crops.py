"""Random crops without searching a whole volume for their centres."""

from typing import Any

import torch
from monai.transforms import RandCropByPosNegLabeld
from monai.transforms.utils import map_binary_to_indices
from torch import Tensor

# Crop centres: voxels looked at in one round, rounds before the whole volume is searched, and centres of each kind that
# make a choice (crops of one visit then rarely coincide). Smaller volumes are searched at once: it takes a millisecond.
_LOOKED_AT, _ROUNDS, _CHOICE, _SMALL = 4096, 16, 32, 2**20


class QuickCropByPosNegLabeld(RandCropByPosNegLabeld):
    """MONAI's transform, with its arguments and its distribution, without searching the whole volume at every visit.

    It draws voxels at random and tells foreground from background among these alone: those of one kind are then uniform
    among all of that kind. Where they are too few (a very small structure), the whole volume is searched as in MONAI.
    """

    def randomize(
        self, label: Tensor | None = None, fg_indices: Any = None, bg_indices: Any = None, image: Tensor | None = None
    ) -> None:
        """Draw the crop centres; arguments as in MONAI."""
        if label is not None and fg_indices is None and bg_indices is None and label[0].numel() > _SMALL:
            fg_indices, bg_indices = self._centres(label, image)
        super().randomize(label, fg_indices, bg_indices, image)

    def _centres(self, label: Tensor, image: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Some voxels of each kind as indices of the flattened volume; None where all must be searched."""
        foreground = background = torch.zeros(0, dtype=torch.int64)
        for _ in range(_ROUNDS):
            # The cropper's stream, not this transform's own: both begin with the same seed.
            drawn = torch.from_numpy(self.cropper.R.randint(label[0].numel(), size=_LOOKED_AT))
            grey = None if image is None else image.flatten(1)[:, drawn]  # C N
            found = map_binary_to_indices(label.flatten(1)[:, drawn], grey, self.cropper.image_threshold)
            foreground, background = torch.cat([foreground, drawn[found[0]]]), torch.cat([background, drawn[found[1]]])
            if min(len(foreground), len(background)) >= _CHOICE:
                return foreground, background
        return None, None
