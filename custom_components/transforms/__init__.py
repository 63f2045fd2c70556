"""Dictionary transforms that MONAI lacks: sequences and tumour labels by name, quick crops, faithful label maps."""

from .crops import QuickCropByPosNegLabeld
from .labels import ConventionLabeld, RegionsToTissuesd, TissueLabeld, UnlabelledMaskd
from .native import NativeArgmaxd, NativeRegionsd
from .objects import SaveMasksd, SplitInstancesd
from .saving import SaveLabelMapd
from .sequences import LoadSequencesd
from .tiles import LoadTiled, RandomNumbersd, RandScaledCropd

__all__ = [
    "ConventionLabeld",
    "LoadSequencesd",
    "LoadTiled",
    "NativeArgmaxd",
    "NativeRegionsd",
    "QuickCropByPosNegLabeld",
    "RandScaledCropd",
    "RandomNumbersd",
    "RegionsToTissuesd",
    "SaveLabelMapd",
    "SaveMasksd",
    "SplitInstancesd",
    "TissueLabeld",
    "UnlabelledMaskd",
]
