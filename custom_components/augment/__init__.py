"""Random changes of whole image batches on the training device, from random numbers that the host knows."""

from .crops import CentreCrop, RandomFlip, RandomResizedCrop, Resize
from .erasing import RandomErasing
from .maps import sample_maps
from .mix import Mix
from .normalise import Normalise
from .photometric import PhotometricDistortion
from .pipeline import Pipeline
from .rand_augment import RandAugment
from .region import Region
from .stain import StainJitter
from .step import Step, as_float
from .uniform import uniform

__all__ = [
    "CentreCrop",
    "Mix",
    "Normalise",
    "PhotometricDistortion",
    "Pipeline",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "Region",
    "Resize",
    "StainJitter",
    "Step",
    "as_float",
    "sample_maps",
    "uniform",
]
