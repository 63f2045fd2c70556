"""Random changes of whole image batches on the training device, from random numbers that the host knows."""

from .crops import CentreCrop, RandomFlip, RandomResizedCrop, Resize
from .erasing import RandomErasing
from .mix import Mix
from .photometric import PhotometricDistortion
from .pipeline import Normalise, Pipeline
from .rand_augment import RandAugment
from .stain import StainJitter
from .step import Extent, Step, as_float

__all__ = [
    "CentreCrop",
    "Extent",
    "Mix",
    "Normalise",
    "PhotometricDistortion",
    "Pipeline",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "Resize",
    "StainJitter",
    "Step",
    "as_float",
]
