"""Mixup and CutMix: pairs of images and of their labels, mixed."""

import math
from typing import NamedTuple

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError, within


class Mixture(NamedTuple):
    """What happens to a batch: `share` of each image stays; `box` (top, bottom, left, right) is cut in, if any."""

    share: float
    box: tuple[int, int, int, int] | None


class Mix:
    """Mixes each image with its counterpart from the other end of the batch, and the labels likewise, as timm does.

    Mixup (Zhang et al., arXiv 1710.09412) averages two images, CutMix (Yun et al., arXiv 1905.04899) cuts a rectangle
    of one into the other. One choice holds for a batch; its random numbers are those of the batch's first image, and so
    known to the host. Labels become class probabilities: train with a loss that takes them.

    Args:
        num_classes: K, for labels that are class indices.
        mixup_alpha: both parameters of the beta distribution of the share, for mixup; 0 leaves mixup out.
        cutmix_alpha: likewise for CutMix.
        probability: that a batch is mixed.
        switch_probability: that CutMix is taken where both are on.
        label_smoothing: share of each label that is spread evenly over all classes; for findings (multi-label), over
            present and absent.

    Attributes:
        draws: random numbers of an image: whether mixed, which way, the share, and a centre (row, column).

    Raises:
        InputError: a value is out of range.
    """

    draws = 5

    def __init__(
        self,
        num_classes: int,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        probability: float = 1.0,
        switch_probability: float = 0.5,
        label_smoothing: float = 0.1,
    ) -> None:
        if min(mixup_alpha, cutmix_alpha) < 0 or max(mixup_alpha, cutmix_alpha) == 0:
            raise InputError(
                f"mixup_alpha is {mixup_alpha} and cutmix_alpha is {cutmix_alpha}; "
                "they must be at least 0 and not both 0: leave Mix out instead."
            )
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be at least 1.")
        self.num_classes, self.mixup_alpha, self.cutmix_alpha = num_classes, mixup_alpha, cutmix_alpha
        self.probability = within("probability", probability, "[0, 1]")
        self.switch_probability = within("switch_probability", switch_probability, "[0, 1]")
        self.label_smoothing = within("label_smoothing", label_smoothing, "[0, 1)")

    def __call__(self, images: Tensor, target: Tensor, random: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: (B, C, H, W) float32.
            target: (B,) class indices, or (B, K) findings from 0 to 1 with NaN for unknown.
            random: (B, at least 5) numbers in [0, 1) in host memory.

        Returns:
            Images and targets, (B, K) float32. A finding that is unknown in one of a pair is unknown in the mixture.
        """
        soft = self.soft(target)
        mixture = self.decide(random, (images.shape[2], images.shape[3]))
        if mixture.share == 1:
            return images, soft
        # `flip` copies, so the counterpart stays what it was.
        other = images.flip(0)
        if mixture.box is None:
            images = torch.lerp(other, images, mixture.share)
        else:
            top, bottom, left, right = mixture.box
            images = images.clone()
            images[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return images, torch.lerp(soft.flip(0), soft, mixture.share)

    def soft(self, target: Tensor) -> Tensor:
        """Labels as probabilities with smoothing, (B, K) float32; for validation set no `label_smoothing`."""
        if target.is_floating_point():  # each finding is a question of two classes
            return target.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        clear = F.one_hot(target, self.num_classes).float()
        return clear * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes

    def decide(self, random: Tensor, shape: tuple[int, int]) -> Mixture:
        """What happens to the batch whose first image has these random numbers."""
        mixed, switch, share, *centre = random[0, : self.draws].tolist()
        if not mixed < self.probability:
            return Mixture(1.0, None)
        cut = self.mixup_alpha == 0 or (self.cutmix_alpha > 0 and switch < self.switch_probability)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        kept = float(betaincinv(alpha, alpha, share))  # the inverse of the distribution function
        if not cut:
            return Mixture(kept, None)
        edges = []
        for side, middle in zip(shape, centre, strict=True):
            half = int(side * math.sqrt(1 - kept)) // 2
            at = int(middle * side)
            edges += [max(at - half, 0), min(at + half, side)]
        top, bottom, left, right = edges
        # The share of what was really cut in: a rectangle at the border is cut off.
        return Mixture(1 - (bottom - top) * (right - left) / (shape[0] * shape[1]), (top, bottom, left, right))
