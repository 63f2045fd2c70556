"""The probe of volumes while their encoder is pre-trained: what frozen features of a patch say about what is in it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.networks.find import find_vit
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.datalist import labelled_items
from ..data.dataset import PreparedDataset
from .features import Array, evaluating
from .online import Probe

SHARE = 0.125  # of the voxels of a patch that a class takes, so that the patch shows it


class VolumeProbe(Probe):
    """A patch is an example, and its findings are the classes of the label map that it shows.

    The crops are those of the transform with the data set's own random numbers, the same in every probe. Cases without
    a label are left out.

    Args:
        network: see `Probe`.
        datalist: whose training and validation lists are used; read only where the probe is on.
        transform: of both: "image" (C, *roi) and "label" (1, *roi), an element a crop.
        class_names: of the label map, background first.
        dataset_dir: where the paths of the datalist start.
        cache: see `PreparedDataset`.
        seed: the run's seed.
        max_train: training cases that are used.
        max_patches: patches of a list that are used, evenly spread.
        **options: of `Probe`.

    Raises:
        InputError: no class names, or a list without any label.
    """

    def __init__(
        self,
        network: nn.Module,
        datalist: str,
        transform: Callable[[Any], Any],
        class_names: Sequence[str] | None = None,
        dataset_dir: str | None = None,
        cache: str = "ram",
        seed: int = 0,
        max_train: int = 32,
        max_patches: int = 20000,
        **options: Any,
    ) -> None:
        super().__init__(network, "multi_label", list(class_names or ())[1:], **options)
        self.max_patches = max_patches
        self.datasets: list[PreparedDataset] = []
        if self.interval < 1:
            return
        if not self.class_names:
            raise InputError("The online probe needs class_names, background first, as train.yaml has them.")
        for section, most in (("training", max_train), ("validation", None)):
            labelled = labelled_items(datalist, section, dataset_dir)[:most]
            if not labelled:
                raise InputError(f"{datalist}: the {section} list has no labels, and the probe needs some.")
            self.datasets.append(PreparedDataset(labelled, transform, cache, seed=seed))

    def features(self, network: nn.Module) -> tuple[Array, Array, Array, Array]:
        """Of patches: float32 (N, D), and 0 or 1 (N, K)."""
        parts: list[Array] = []
        for dataset in self.datasets:
            pairs = [self._patches(network, crop) for number in range(len(dataset)) for crop in dataset[number]]
            for both in zip(*pairs, strict=True):
                rows = np.concatenate(both)
                parts.append(rows[:: -(-len(rows) // self.max_patches)])
        return parts[0], parts[1], parts[2], parts[3]

    @torch.no_grad()
    def _patches(self, network: nn.Module, crop: dict[str, Tensor]) -> tuple[Array, Array]:
        vit = find_vit(network)
        with evaluating(vit):
            tokens = vit(torch.as_tensor(crop["image"])[None].to(self.device)).tokens[0]
        label = torch.as_tensor(crop["label"]).to(self.device)  # 1 *S
        classes = torch.arange(1, len(self.class_names) + 1, device=self.device)
        held = (label == classes.view(-1, *[1] * (label.ndim - 1))).float()  # K *S
        patch: Any = vit.patch_size
        shares = F.avg_pool3d(held, patch).flatten(1).T  # N K
        return tokens[len(tokens) - len(shares) :].float().cpu().numpy(), (shares >= SHARE).float().cpu().numpy()
