"""Losses of pre-training (reconstruction, self-distillation) and of what follows it."""

from .classification import ClassificationLoss
from .distillation import SelfDistillationLoss
from .reconstruction import ReconstructionLoss, SupervisedReconstructionLoss
from .segmentation import DenseLoss, PartialDiceCELoss, RegionDiceLoss, merge_unlabelled

__all__ = [
    "ClassificationLoss",
    "DenseLoss",
    "PartialDiceCELoss",
    "ReconstructionLoss",
    "RegionDiceLoss",
    "SelfDistillationLoss",
    "SupervisedReconstructionLoss",
    "merge_unlabelled",
]
