"""Ignite handlers that MONAI lacks: resumable checkpoints, run manifest, progress, finite-loss guard, pictures.

Each has `attach(engine)` and so goes into the `train_handlers` or `val_handlers` list of a MONAI engine. Put
`RunManifest` first (its failure hook must stand before MONAI's `StatsHandler`, which raises at once); the order of the
others is free: whatever must run after validation (the history row, early stopping, then the checkpoint) registers
itself late.
"""

from .best import BestModel, SaveEncoder
from .checkpoint import Checkpoint
from .early_stop import EarlyStop
from .guard import LossGuard
from .manifest import RunManifest
from .pictures import OverlayPictures, ReconstructionPictures
from .progress import Progress
from .validation import Validation

__all__ = [
    "BestModel",
    "Checkpoint",
    "EarlyStop",
    "LossGuard",
    "OverlayPictures",
    "Progress",
    "ReconstructionPictures",
    "RunManifest",
    "SaveEncoder",
    "Validation",
]
