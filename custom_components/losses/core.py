"""Losses of all stages; each is a mean over samples, so a batch may be split and the parts added up."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from ..errors import InputError
from ..tumour_labels import region_table


def patch_statistics(patches: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch vector, (..., P) -> two (..., 1), in float32.

    The variance is that of the population with `eps` inside the root (SelfMedMAE's 3D code); Facebook's MAE divides by
    P - 1, which differs by 2e-4 or less at the sizes used here. A constant patch becomes all zeros.
    """
    patches = patches.float()
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True, correction=0)
    return mean, (variance + eps).sqrt()


class ReconstructionLoss(nn.Module):
    """Mean squared error over hidden patches only (MAE, arXiv 2111.06377, section 3), computed in float32.

    Takes the output of `MaskedAutoencoder`, which already holds the hidden patches' targets. The second argument is
    what a trainer passes as the target and is not used.
    """

    def forward(self, output: tuple[Tensor, Tensor, Tensor], target: object = None) -> Tensor:
        """(pred (B, M, P), target (B, M, P), indices) -> scalar."""
        return F.mse_loss(output[0].float(), output[1].float())


def merge_unlabelled(logits: Tensor, unlabelled: Tensor) -> Tensor:
    """Add the probability of classes that a case does not draw to its background (marginal loss, arXiv 2007.03868).

    Where an annotator left a structure out, its voxels carry the background label, so the network may call them either.

    Args:
        logits: (B, C, *S), channel 0 is background.
        unlabelled: (B, C) bool, True where the class is not drawn in that case.

    Returns:
        (B, C, *S): the background logit holds the log-sum of background and unlabelled logits, which become -inf.
    """
    shape = list(unlabelled.shape) + [1] * (logits.ndim - 2)
    absent = unlabelled.view(shape)
    pooled = absent.clone()
    pooled[:, 0] = True
    background = logits.masked_fill(~pooled, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(absent[:, 1:], -torch.inf)], dim=1)


class PartialDiceCELoss(nn.Module):
    """Soft Dice on softmax (squared denominator, background included) plus cross-entropy, per sample, then the mean.

    The form of SelfMedMAE's BTCV fine-tuning, able to leave a class out case by case.

    Args:
        partial: some cases have unlabelled classes. When False the target's "unlabelled" entry is ignored, which saves
            a copy of the logits.
        smooth_nr: added to Dice's numerator. 0 as in the paper: a class absent from a crop then gives Dice no gradient,
            and cross-entropy alone pushes false positives down.
        smooth_dr: added to Dice's denominator.
        lambda_dice: weight of the Dice term.
        lambda_ce: weight of the cross-entropy term.
    """

    def __init__(
        self,
        partial: bool = False,
        smooth_nr: float = 0.0,
        smooth_dr: float = 1e-6,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
    ) -> None:
        super().__init__()
        self.partial, self.lambda_dice, self.lambda_ce = partial, lambda_dice, lambda_ce
        self.dice = DiceLoss(
            to_onehot_y=True, squared_pred=True, smooth_nr=smooth_nr, smooth_dr=smooth_dr, reduction="none"
        )

    def forward(self, logits: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Logits (B, C, *S); target "label" (B, 1, *S) integers and "unlabelled" (B, C) bool -> scalar.

        Float32 whatever the logits: sums over a volume overflow fp16.
        """
        logits, label = logits.float(), target["label"]
        if self.partial:
            # Voxels of a class that the case is said not to draw count as background, which that class is merged into.
            stray = target["unlabelled"].gather(1, label.flatten(1).long()).view_as(label)
            label = label.masked_fill(stray, 0)
            logits = merge_unlabelled(logits, target["unlabelled"])
        dice = self.dice(logits.softmax(dim=1), label).flatten(1)  # (B, C)
        if self.partial:
            drawn = (~target["unlabelled"]).float()
            dice = (dice * drawn).sum(dim=1) / drawn.sum(dim=1)
        cross_entropy = F.cross_entropy(logits, label[:, 0].long())
        return self.lambda_dice * dice.mean() + self.lambda_ce * cross_entropy


class RegionDiceLoss(nn.Module):
    """Soft Dice on sigmoid (squared denominator) of overlapping regions, per sample and region, then the mean.

    The form of SelfMedMAE's BraTS fine-tuning, 1 - (2 sum(p g) + s) / (sum(p^2) + sum(g) + s), with its s = 0 replaced:
    a region that a crop does not hold then costs 1 whatever is predicted, and nothing pushes false positives down.

    With s that region costs P / (P + s), P = sum(p^2), and its gradient on p is 2 p s / (P + s)^2: the push that a
    region of which s / 2 voxels are found gives to its own false positives. An s that only avoids 0 / 0 (1e-5) is
    therefore nothing beside the 5e5 that P is at the start in 128^3 voxels; with s = 100 the push is that of a small
    lesion, and strongest once about 100 false positives are left. What s does to a region of G voxels that is there:
    its Dice d is counted as d + (1 - d) s / (P + G + s), so 0.90 as 0.92 for 200 voxels and s = 100, and missing it
    costs G / (G + s), here 0.67. The best prediction stays the best. Where lesions of a few voxels matter, take a small
    s and `lambda_bce`, which needs no s.

    Args:
        class_names: background first, then the regions, one channel of logits each.
        smooth: s, in voxels of the crop; in proportion to the crop's size. 0 is the paper's.
        lambda_bce: weight of a binary cross-entropy (mean over the voxels) beside Dice; 0 is the paper's.

    Raises:
        InputError: a name that is no region, or a negative number.
    """

    table: Tensor

    def __init__(self, class_names: Sequence[str], smooth: float = 100.0, lambda_bce: float = 0.0) -> None:
        super().__init__()
        for key, value in (("smooth", smooth), ("lambda_bce", lambda_bce)):
            if not value >= 0:
                raise InputError(f"{key} of the loss is {value}; it must be 0 or more.")
        self.smooth, self.lambda_bce = float(smooth), float(lambda_bce)
        self.register_buffer("table", region_table(class_names), persistent=False)  # tissues R

    def forward(self, logits: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Logits (B, R, *S); target "label" (B, 1, *S) tissue codes and "unlabelled" (B, 1 + R) bool -> scalar.

        A region that a case does not draw is left out of that case's mean over regions; a case that draws none costs
        0. Float32 whatever the logits: sums over a volume overflow fp16.
        """
        logits = logits.float()
        if self.table.device != logits.device:
            self.table = self.table.to(logits.device)  # in the first step only: copying makes the host wait
        codes = target["label"][:, 0].int()
        masks = torch.stack([tissues[codes] for tissues in self.table.T], dim=1)  # B R *S
        space = tuple(range(2, logits.ndim))
        probabilities = logits.sigmoid()
        overlap = (probabilities * masks).sum(space)  # B R
        total = probabilities.square().sum(space) + masks.sum(space)
        # MONAI's DiceLoss squares the target as well, which fails for the bool that masks are (torch 2.13).
        loss = 1 - (2 * overlap + self.smooth) / (total + max(self.smooth, 1e-6))
        if self.lambda_bce:
            entropy = F.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
            loss = loss + self.lambda_bce * entropy.mean(space)
        drawn = ~target["unlabelled"][:, 1:]
        return ((loss * drawn).sum(1) / drawn.sum(1).clamp(min=1)).mean()


class ClassificationLoss(nn.Module):
    """Binary cross-entropy of findings that may be unknown, or cross-entropy of classes; the mean over samples.

    A sample's loss does not depend on the others, so a batch may be split: for findings it is the mean over those that
    are known, 0 where none is. Weights are not normalised: one twice as large makes the loss of its positives twice as
    large.

    Args:
        task: "multi_label" or "multi_class".
        class_weights: a positive number a class; it multiplies the term of a positive (with "multi_class" that of the
            true class).
        focal_gamma: (1 - probability of what is true) ** gamma multiplies each term (focal loss, arXiv 1708.02002);
            0 is plain cross-entropy.
        label_smoothing: share of a class target that is spread evenly over all classes; "multi_class" only.

    Raises:
        InputError: an unknown task, or a value out of range.
    """

    weights: Tensor | None

    def __init__(
        self,
        task: str,
        class_weights: Sequence[float] | None = None,
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if task not in ("multi_label", "multi_class"):
            raise InputError(f"task of the loss is {task!r}; it must be multi_label or multi_class.")
        if not focal_gamma >= 0:
            raise InputError(f"focal_gamma of the loss is {focal_gamma}; it must be 0 or more.")
        if not 0 <= label_smoothing < 1 or (label_smoothing and task == "multi_label"):
            raise InputError(
                f"label_smoothing of the loss is {label_smoothing}; it must be at least 0 and below 1, and 0 with"
                " multi_label."
            )
        if class_weights is not None and not all(0 < weight < float("inf") for weight in class_weights):
            raise InputError(f"class_weights of the loss are {list(class_weights)}; each must be a number above 0.")
        self.task, self.focal_gamma, self.label_smoothing = task, float(focal_gamma), float(label_smoothing)
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("weights", weights, persistent=False)  # K

    def forward(self, logits: Tensor, target: Tensor | dict[str, Tensor]) -> Tensor:
        """Logits (B, K) and the target, or a dict with it as "label" -> scalar, float32 whatever the logits.

        The target is (B, K) in [0, 1] with NaN for unknown ("multi_label"); (B,) int64 or (B, K) probabilities
        ("multi_class").
        """
        logits, label = logits.float(), target["label"] if isinstance(target, dict) else target
        if self.weights is not None:
            if len(self.weights) != logits.shape[1]:
                raise InputError(
                    f"class_weights of the loss has {len(self.weights)} numbers for {logits.shape[1]} classes;"
                    " give one a class."
                )
            if self.weights.device != logits.device:
                self.weights = self.weights.to(logits.device)  # in the first step only: copying makes the host wait
        return self._findings(logits, label) if self.task == "multi_label" else self._classes(logits, label)

    def _findings(self, logits: Tensor, label: Tensor) -> Tensor:
        known = ~label.isnan()
        truth = torch.where(known, label, 0).float()  # a NaN times 0 would stay NaN
        terms = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=self.weights, reduction="none")
        if self.focal_gamma:
            probability = logits.sigmoid()
            terms = terms * self._focus(probability + truth - 2 * probability * truth)
        # Counts stay on the device: asking whether one is 0 would make the host wait.
        return ((terms * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)).mean()

    def _classes(self, logits: Tensor, label: Tensor) -> Tensor:
        if label.ndim == 1:
            # one_hot may look at the largest index, for which the host waits.
            label = torch.zeros_like(logits).scatter_(1, label.long()[:, None], 1.0)
        truth = label.float() * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[1]
        log_probability = logits.log_softmax(dim=1)
        terms = truth * log_probability
        if self.weights is not None:
            terms = terms * self.weights
        if self.focal_gamma:
            terms = terms * self._focus(1 - log_probability.exp())
        return -terms.sum(dim=1).mean()

    def _focus(self, miss: Tensor) -> Tensor:
        """Weight of a term by how far it is off; the slope of a power below 1 has no bound at 0."""
        return miss.clamp(min=1e-6) ** self.focal_gamma


class SupervisedReconstructionLoss(nn.Module):
    """Mean squared error of the masked patches plus a weighted class loss: MSMAE (arXiv 2305.05871), L_rec + 0.1 L_cls.

    Args:
        task: "multi_label" or "multi_class", see `ClassificationLoss`.
        cls_weight: of the class loss; 0 leaves reconstruction alone, and needs no labels.
        cls_loss: "logits", or "double_softmax": the cross-entropy takes probabilities for logits, as the released code
            does. It then never reaches 0 (0.91 is its least with 5 classes) and hardly pushes.
        class_weights: see `ClassificationLoss`.
        label_smoothing: see `ClassificationLoss`.

    Raises:
        InputError: a value is out of range, or "double_softmax" with "multi_label".
    """

    def __init__(
        self,
        task: str,
        cls_weight: float = 0.1,
        cls_loss: str = "logits",
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not cls_weight >= 0:
            raise InputError(f"cls_loss_weight is {cls_weight}; it must be 0 or more.")
        if cls_loss not in ("logits", "double_softmax"):
            raise InputError(f"cls_loss is {cls_loss!r}; choose logits or double_softmax.")
        if cls_loss == "double_softmax" and task != "multi_class":
            raise InputError("cls_loss is double_softmax, which is for multi_class; set cls_loss: logits.")
        self.cls_weight, self.cls_loss = float(cls_weight), cls_loss
        self.classification = ClassificationLoss(task, class_weights, label_smoothing=label_smoothing)

    def forward(self, output: tuple[Tensor, Tensor, Tensor, Tensor | None], target: Tensor | None = None) -> Tensor:
        """(pred (B, M, P), target (B, M, P), indices, logits (B, K) or None) and labels -> scalar."""
        reconstruction = F.mse_loss(output[0].float(), output[1].float())
        logits = output[3]
        if not self.cls_weight:
            return reconstruction
        if logits is None or target is None:
            raise InputError(
                f"cls_loss_weight is {self.cls_weight}, but the batch has no labels or the network no class head; "
                "label the datalist, or set cls_loss_weight: 0."
            )
        if self.cls_loss == "double_softmax":
            logits = logits.float().softmax(dim=1)
        return reconstruction + self.cls_weight * self.classification(logits, target)
