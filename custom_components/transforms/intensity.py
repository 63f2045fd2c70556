"""Intensities to the range 0..1."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRange, ScaleIntensityRangePercentiles

from ..errors import InputError, one_of

MODES = ("window", "percentile")


class ScaleToUnitd(MapTransform):
    """Maps a range of intensities to 0..1 and clips what lies outside.

    Args:
        keys: images.
        mode: "window" (the same range for every image, as for Hounsfield units) or "percentile" (of each image, as for
            MRI).
        limits: lower and upper end of the range, in image units or in percent.
        allow_missing_keys: see `MapTransform`.

    Raises:
        InputError: an unknown mode, or limits that are no range.
    """

    def __init__(
        self, keys: KeysCollection, mode: str, limits: Sequence[float], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        one_of("intensity_mode", mode, MODES)
        whole = (0, 100) if mode == "percentile" else (-float("inf"), float("inf"))
        if len(limits) != 2 or not whole[0] <= limits[0] < limits[1] <= whole[1]:
            unit = "percentiles between 0 and 100" if mode == "percentile" else "numbers"
            raise InputError(f"intensity_range is {list(limits)}; it must be two {unit}, the lower one first.")
        scale: Any = ScaleIntensityRange if mode == "window" else ScaleIntensityRangePercentiles
        self.scale = scale(limits[0], limits[1], b_min=0.0, b_max=1.0, clip=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images of one item."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.scale(result[key])
        return result
