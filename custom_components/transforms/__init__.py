"""Dictionary transforms that MONAI lacks: sequences and tumour labels by name, quick crops, faithful label maps."""

from .crops import QuickCropByPosNegLabeld
from .labels import ConventionLabeld, RegionsToTissuesd, TissueLabeld, UnlabelledMaskd
from .native import NativeArgmaxd, NativeRegionsd
from .saving import SaveLabelMapd
from .sequences import LoadSequencesd

__all__ = [
    "ConventionLabeld",
    "LoadSequencesd",
    "NativeArgmaxd",
    "NativeRegionsd",
    "QuickCropByPosNegLabeld",
    "RegionsToTissuesd",
    "SaveLabelMapd",
    "TissueLabeld",
    "UnlabelledMaskd",
]
