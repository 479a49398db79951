"""Cross-entropy, plain and with weights."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.nn import functional

from skcyto.losses._base import Loss, check_number
from skcyto.losses._criterion import Criterion


class CrossEntropyCriterion(Criterion):
    """Cross-entropy of logits that a subclass may adjust.

    torch's own function does the work, with its weights and label smoothing.
    """

    stackable_numbers: ClassVar[tuple[str, ...] | None] = ()
    _no_prior_correction = "label smoothing pulls its minimum towards equal probabilities"

    def __init__(self, class_counts: Any, *, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(class_counts, **kwargs)
        self.label_smoothing = float(label_smoothing)

    def adjust(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Change the logits before the cross-entropy of the training."""
        return logits

    takes_soft_targets = True  # `compute` is overridden for speed alone

    def active_class_weight(self) -> torch.Tensor | None:
        """Class weights in force; None stands for ones."""
        return self.class_weight if self._is_weighted else None

    def compute(
        self, logits: torch.Tensor, target: torch.Tensor, sample_weight: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the weighted mean of the rows' cross-entropies."""
        weight = self.active_class_weight()
        if weight is not None:
            weight = weight.to(logits)
        logits = self.adjust(logits, target)
        by_weight = self.reduction == "weight_sum" or weight is None
        if sample_weight is None and by_weight and len(target) and not self._has_zero_weight:
            return functional.cross_entropy(
                logits, target, weight, label_smoothing=self.label_smoothing
            )
        losses = functional.cross_entropy(
            logits, target, weight, reduction="none", label_smoothing=self.label_smoothing
        )
        if sample_weight is None:
            sample_weight = torch.ones_like(losses)
        row_weight = sample_weight
        if weight is not None:
            row_weight = weight.index_select(0, target) * sample_weight
        return torch.dot(sample_weight, losses) / self.divisor(row_weight, len(target))

    def _log_train_correction(self) -> torch.Tensor:
        if self.label_smoothing:
            return super()._log_train_correction()
        return self._log_weight_correction()


class CrossEntropy(Loss):
    r"""Cross-entropy :math:`-\log p_y`, with torch's label smoothing.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of each target spread evenly over the classes, in [0, 1). As in torch, the class
        weights apply to the smoothed part as well.

    See Also
    --------
    WeightedCrossEntropy : The same with balanced class weights.

    Notes
    -----
    The way back to a prior (`log_prior_correction`) is exact, class weights included, and does
    not exist with label smoothing.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import CrossEntropy
    >>> criterion = CrossEntropy().build([50, 50])
    >>> round(criterion(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    0.6931
    """

    name = "ce"
    criterion_class = CrossEntropyCriterion

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def _validate(self) -> None:
        check_number("label_smoothing", self.label_smoothing, 0, 1, include_high=False)


class WeightedCrossEntropy(CrossEntropy):
    """Cross-entropy with balanced class weights, unless others are given.

    The same as :class:`CrossEntropy` with ``class_weight="balanced"``: where the caller of
    :meth:`build` names class weights, those win.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        As in :class:`CrossEntropy`.

    See Also
    --------
    CrossEntropy : Without weights.

    Examples
    --------
    >>> from skcyto.losses import WeightedCrossEntropy
    >>> WeightedCrossEntropy().build([80, 20]).class_weight.tolist()
    [0.625, 2.5]
    """

    name = "wce"
    uses_class_counts = True
    default_class_weight = "balanced"
