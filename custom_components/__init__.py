"""The method: networks, masking, losses, random changes of images, and the transforms that MONAI lacks."""

__version__ = "0.2.0"
