"""Random changes of whole image batches on the training device, from random numbers that the host knows."""

from .crops import CentreCrop, RandomFlip, RandomResizedCrop
from .erasing import RandomErasing
from .mix import Mix
from .normalise import Normalise
from .pipeline import Pipeline
from .rand_augment import RandAugment
from .step import Step, as_float
from .uniform import uniform

__all__ = [
    "CentreCrop",
    "Mix",
    "Normalise",
    "Pipeline",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "Step",
    "as_float",
    "uniform",
]
