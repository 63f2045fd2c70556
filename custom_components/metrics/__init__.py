"""Honest scores: Dice and HD95 with a stated policy for missed structures, and bootstrap intervals."""

from .comparison import compare
from .handler import ScoreSegmentation
from .intervals import bootstrap_interval
from .report import SegmentationReport
from .segmentation import Row, check_penalty, score_case
from .volumes import VolumeTable

__all__ = [
    "Row",
    "ScoreSegmentation",
    "SegmentationReport",
    "VolumeTable",
    "bootstrap_interval",
    "check_penalty",
    "compare",
    "score_case",
]
