"""Honest scores: Dice, HD95 and ROC AUC with a stated policy for what is missing, and bootstrap intervals."""

from .classification_handler import ScoreClassification
from .classification_report import ClassificationReport
from .comparison import compare
from .handler import ScoreSegmentation
from .instance_handler import ScoreInstances
from .instance_report import InstanceReport
from .intervals import bootstrap_interval
from .key_metric import MacroAUC
from .report import SegmentationReport
from .segmentation import Row, check_penalty, score_case
from .thresholds import choose_thresholds, read_thresholds, write_thresholds
from .volumes import VolumeTable

__all__ = [
    "ClassificationReport",
    "InstanceReport",
    "MacroAUC",
    "Row",
    "ScoreClassification",
    "ScoreInstances",
    "ScoreSegmentation",
    "SegmentationReport",
    "VolumeTable",
    "bootstrap_interval",
    "check_penalty",
    "choose_thresholds",
    "compare",
    "read_thresholds",
    "score_case",
    "write_thresholds",
]
