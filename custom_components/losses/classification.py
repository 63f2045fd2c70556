"""Loss of classifiers, for findings that may be unknown and for classes; a mean over samples: a batch may be split."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, one_of, within


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

    Attributes:
        unlearnt: classes that no training label shows; the loss is that of a network without them.

    Raises:
        InputError: an unknown task, or a value out of range.
    """

    weights: Tensor | None
    unlearnt: Sequence[int] = ()

    def __init__(
        self,
        task: str,
        class_weights: Sequence[float] | None = None,
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.task = one_of("task of the loss", task, ("multi_label", "multi_class"))
        self.focal_gamma = within("focal_gamma of the loss", focal_gamma, "[0, inf)")
        if not 0 <= label_smoothing < 1 or (label_smoothing and task == "multi_label"):
            raise InputError(
                f"label_smoothing of the loss is {label_smoothing}; it must be at least 0 and below 1, and 0 with"
                " multi_label."
            )
        if class_weights is not None and not all(0 < weight < float("inf") for weight in class_weights):
            raise InputError(f"class_weights of the loss are {list(class_weights)}; each must be a number above 0.")
        self.label_smoothing = label_smoothing
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
        weights = self.weights
        if self.task == "multi_class" and label.ndim == 1:
            # one_hot may look at the largest index, for which the host waits.
            label = torch.zeros_like(logits).scatter_(1, label.long()[:, None], 1.0)
        if self.unlearnt:
            logits, label = (only_learnt(values, self.unlearnt) for values in (logits, label))
            weights = None if weights is None else only_learnt(weights[None], self.unlearnt)[0]
        return (self._findings if self.task == "multi_label" else self._classes)(logits, label, weights)

    def _findings(self, logits: Tensor, label: Tensor, weights: Tensor | None) -> Tensor:
        known = ~label.isnan()
        truth = torch.where(known, label, 0).float()  # a NaN times 0 would stay NaN
        terms = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights, reduction="none")
        if self.focal_gamma:
            probability = logits.sigmoid()
            terms = terms * self._focus(probability + truth - 2 * probability * truth)
        # Counts stay on the device: asking whether one is 0 would make the host wait.
        return ((terms * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)).mean()

    def _classes(self, logits: Tensor, label: Tensor, weights: Tensor | None) -> Tensor:
        truth = label.float() * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[1]
        log_probability = logits.log_softmax(dim=1)
        terms = truth * log_probability
        if weights is not None:
            terms = terms * weights
        if self.focal_gamma:
            terms = terms * self._focus(1 - log_probability.exp())
        return -terms.sum(dim=1).mean()

    def _focus(self, miss: Tensor) -> Tensor:
        """Weight of a term by how far it is off; the slope of a power below 1 has no bound at 0."""
        return miss.clamp(min=1e-6) ** self.focal_gamma


def only_learnt(values: Tensor, unlearnt: Sequence[int]) -> Tensor:
    """(B, K, ...) -> (B, K - unlearnt, ...), without a copy from the host."""
    return torch.stack([one for index, one in enumerate(values.unbind(1)) if index not in unlearnt], dim=1)
