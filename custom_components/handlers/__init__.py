"""Ignite handlers that MONAI lacks: resumable checkpoints, run manifest, progress, finite-loss guard, pictures.

Each has `attach(engine)` and so goes into the `train_handlers` or `val_handlers` list of a MONAI engine. Put
`RunManifest` first (its failure hook must stand before MONAI's `StatsHandler`, which raises at once); the order of the
others is free: whatever must run after validation (the history row, early stopping, then the checkpoint) registers
itself late.
"""

from .attention_refresh import RefreshAttention
from .best import BestModel, MarkFinished, SaveEncoder
from .checkpoint import Checkpoint
from .collapse import CollapseWatch
from .early_stop import EarlyStop
from .guard import LossGuard
from .manifest import RunManifest
from .object_table import ObjectTable
from .online_probe import OnlineProbe
from .outlines import OutlinePictures
from .pictures import OverlayPictures, ReconstructionPictures
from .prediction_table import AttentionPictures, PredictionTable
from .progress import Progress
from .results import tell_results
from .signals import exit_if_interrupted
from .split_pictures import SplitPictures
from .validation import Validation

__all__ = [
    "AttentionPictures",
    "BestModel",
    "Checkpoint",
    "CollapseWatch",
    "EarlyStop",
    "LossGuard",
    "MarkFinished",
    "ObjectTable",
    "OnlineProbe",
    "OutlinePictures",
    "OverlayPictures",
    "PredictionTable",
    "Progress",
    "ReconstructionPictures",
    "RefreshAttention",
    "RunManifest",
    "SaveEncoder",
    "SplitPictures",
    "Validation",
    "exit_if_interrupted",
    "tell_results",
]
