"""Losses of pre-training (reconstruction, self-distillation) and of what follows it."""

from .core import (
    ClassificationLoss,
    PartialDiceCELoss,
    ReconstructionLoss,
    RegionDiceLoss,
    SupervisedReconstructionLoss,
    merge_unlabelled,
    patch_statistics,
)
from .dense import DenseLoss
from .distillation import SelfDistillationLoss

__all__ = [
    "ClassificationLoss",
    "DenseLoss",
    "PartialDiceCELoss",
    "ReconstructionLoss",
    "RegionDiceLoss",
    "SelfDistillationLoss",
    "SupervisedReconstructionLoss",
    "merge_unlabelled",
    "patch_statistics",
]
