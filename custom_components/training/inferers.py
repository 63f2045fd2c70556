"""How a network sees an image at inference: as it is, squashed to the network's size, or window by window."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.nn import functional as F

from ..errors import one_of, within
from .step import autocast, map_tensors, widen

BLENDS = ("gaussian", "constant")
# A logit that says "surely" or "surely not", for what no window saw.
_SURE = 20.0
_LARGEST = torch.finfo(torch.float16).max
# Voxels of a window from which a processor takes each alone: what the layers hand on stays in its caches.
_ALONE = 64**3


class WholeImageInferer(Inferer):
    """Hands on the image, squashed to the size that the network takes if there is one.

    Args:
        size: height and width that the picture is squashed to; the logits come back at the picture's own.
        amp: precision of the network, see `step.autocast`.
    """

    def __init__(self, size: int | Sequence[int] | None = None, amp: str | bool = "off") -> None:
        super().__init__()
        self.size, self.amp = None if size is None else ensure_tuple_rep(size, 2), amp
        autocast("cpu", amp)  # refuses another word

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """(B, C, *S) -> what the network says, in float32; with `size`, logits (B, K, H, W)."""
        given = inputs
        if self.size is not None:
            given = F.interpolate(inputs, self.size, mode="bilinear", antialias=True, align_corners=False)
        with autocast(inputs.device, self.amp):
            said = map_tensors(network(given, *args, **kwargs), widen)
        if self.size is None:
            return said
        return F.interpolate(said, tuple(inputs.shape[2:]), mode="bilinear", align_corners=False)


class WindowInferer(Inferer):
    """Sliding windows as MONAI's `SlidingWindowInferer` lays and blends them, in less memory.

    Windows come in order along the first axis, so sums are kept in float32 for the planes only that a window still
    reaches; finished planes are float16, half of what MONAI keeps. Windows that hold nothing but zeros (air below the
    intensity window, the outside of a stripped head) can be left out: every voxel that is not 0 is still seen by all of
    its windows, so what is said of it is the same.

    Args:
        roi_size: size of a window in voxels; a smaller image is padded with zeros.
        sw_batch_size: windows at a time; large ones go one by one on a processor, where that is faster.
        overlap: of neighbouring windows, a share of `roi_size`.
        mode: how overlapping windows are blended, "gaussian" or "constant".
        flip_axes: spatial axes (0, 1, 2); each adds a pass over the mirrored image, and logits are averaged. Mirroring
            left and right is only meant for networks trained with such flips.
        amp: precision of the network, see `step.autocast`.
        skip_empty: leave windows of zeros out.
        background: channel of the background in a network that chooses one class; None where each channel is a yes or
            no of its own. What no window saw is background.

    Raises:
        InputError: an unknown mode or precision, or an overlap outside 0..1.
    """

    def __init__(
        self,
        roi_size: int | Sequence[int],
        sw_batch_size: int = 1,
        overlap: float = 0.25,
        mode: str = "constant",
        flip_axes: Sequence[int] = (),
        amp: str | bool = "off",
        skip_empty: bool = False,
        background: int | None = 0,
    ) -> None:
        super().__init__()
        one_of("blend", mode, BLENDS)
        within("overlap", overlap, "[0, 1)")
        autocast("cpu", amp)  # refuses another word
        self.roi_size, self.sw_batch_size, self.overlap, self.mode = roi_size, sw_batch_size, overlap, mode
        self.flip_axes, self.amp = tuple(flip_axes), amp
        self.skip_empty, self.background = skip_empty, background

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """(B, C, *S) -> logits (B, K, *S), float16, with the metadata of the image."""
        plain = torch.as_tensor(inputs)

        def run(window: Tensor) -> Tensor:
            with autocast(plain.device, self.amp):
                return network(window, *args, **kwargs).float()

        total = self._windows(plain, run)
        for axis in self.flip_axes:
            total += self._windows(plain.flip(2 + axis), run).flip(2 + axis)
        if self.flip_axes:
            total.div_(1 + len(self.flip_axes))
        return MetaTensor(total).copy_meta_from(inputs, copy_attr=False) if isinstance(inputs, MetaTensor) else total

    def _windows(self, images: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """One pass over each image of a batch."""
        shape = images.shape[2:]
        roi = ensure_tuple_rep(self.roi_size, len(shape))
        lack = [max(side - length, 0) for side, length in zip(roi, shape, strict=True)]
        images = F.pad(images, [part for miss in reversed(lack) for part in (miss // 2, miss - miss // 2)])
        inside = tuple(slice(miss // 2, miss // 2 + length) for miss, length in zip(lack, shape, strict=True))
        results = [self._one(image, roi, run)[:, *inside] for image in images]
        return results[0][None] if len(results) == 1 else torch.stack(results)

    def _one(self, image: Tensor, roi: tuple[int, ...], run: Callable[[Tensor], Tensor]) -> Tensor:
        """(C, *S) -> (K, *S)."""
        shape = tuple(image.shape[1:])
        steps = [
            side if side == length else max(int(side * (1 - self.overlap)), 1)
            for side, length in zip(roi, shape, strict=True)
        ]
        windows = dense_patch_slices(shape, roi, steps)  # those of one first plane after the other
        if self.skip_empty:
            windows = [window for window in windows if image[:, *window].any()] or windows[:1]
        importance = compute_importance_map(roi, mode=self.mode, device=image.device, dtype=torch.float32)
        result = sums = torch.empty(0)
        start = 0
        for number, (window, said) in enumerate(self._said(image, windows, run)):
            if number == 0:
                # The last of `sums` counts the weights of windows.
                sums = torch.zeros(len(said) + 1, roi[0], *shape[1:], device=image.device)
                result = torch.full((len(said), *shape), -_SURE, dtype=torch.float16, device=image.device)
                if self.background is not None:
                    result[self.background] = _SURE
                start = window[0].start
            if window[0].start > start:
                self._finish(result, sums, start, window[0].start)
                start = window[0].start
            part = sums[:, :, *window[1:]]
            part[:-1].addcmul_(said, importance)
            part[-1] += importance
        self._finish(result, sums, start, start + roi[0])
        return result

    def _said(
        self, image: Tensor, windows: Sequence[tuple[slice, ...]], run: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        voxels = math.prod(each.stop - each.start for each in windows[0])
        count = 1 if image.device.type == "cpu" and voxels >= _ALONE else self.sw_batch_size
        for first in range(0, len(windows), count):
            some = windows[first : first + count]
            yield from zip(some, run(torch.stack([image[:, *window] for window in some])), strict=True)

    @staticmethod
    def _finish(result: Tensor, sums: Tensor, start: int, stop: int) -> None:
        """Divide the planes start..stop - 1, which no further window reaches, and move the others up."""
        done = min(stop - start, sums.shape[1])
        planes, weight = sums[:-1, :done], sums[-1:, :done]
        means = (planes / weight).clamp_(-_LARGEST, _LARGEST)
        target = result[:, start : start + done]
        torch.where(weight > 0, means.to(result.dtype), target, out=target)
        sums[:, : sums.shape[1] - done] = sums[:, done:].clone()
        sums[:, sums.shape[1] - done :] = 0
