"""The losses of many networks at once: each with parameters and class weights of its own.

The formulas are those of :mod:`skcyto.losses` with one more axis in front. A batch holds as many
rows for each network, so that none need be left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from skcyto.losses import Criterion
from skcyto.losses._criterion import one_hot
from skcyto.losses._cross_entropy import CrossEntropyCriterion
from skcyto.losses._focal import FocalCriterion, Poly1Criterion
from skcyto.losses._logit_adjustment import VectorScalingCriterion
from skcyto.losses._margin import LDAMCriterion
from skcyto.losses._soft_f1 import SoftF1Criterion
from skcyto.losses._worst_case import CVaRCriterion, GroupDROCriterion, MinimaxCriterion


class StackedLoss(ABC):
    """Criteria of one family, stacked.

    Parameters
    ----------
    criteria : list of Criterion
        One for each network.
    device : torch.device
        Where to compute.
    """

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        self.criteria = list(criteria)
        self.device = device
        self.by_count = self.numbers(lambda c: c.reduction == "count", torch.bool)
        self.class_weight = self.numbers(lambda c: c.class_weight)
        self.is_weighted = any(c._is_weighted for c in criteria)
        #: Whether gradients have the bits of those of the criteria.
        self.is_exact = False

    def __call__(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        *,
        training: bool,
    ) -> torch.Tensor:
        """Compute the loss of each network; as :meth:`compute`, but on the CPU to the bit.

        A stacked formula rounds otherwise than the criteria themselves, which a training
        amplifies (see ``_stacked_products``): there they are called one by one, unless the
        formula is known to give the same gradients.
        """
        is_exact = self.device.type != "cpu" or (self.is_exact and training and weight is None)
        if is_exact:
            return self.compute(logits, target, weight, models, training)
        weights = [None] * len(logits) if weight is None else weight.unbind(0)
        parts = zip(self.criteria[models], logits.unbind(0), target.unbind(0), weights, strict=True)
        return torch.stack([c.train(training)(*values) for c, *values in parts])

    def numbers(
        self, get: Callable[[Any], Any], dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Stack a property of the criteria."""
        values = [torch.as_tensor(get(criterion)) for criterion in self.criteria]
        return torch.stack(values).to(self.device, dtype)

    @abstractmethod
    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        """Compute the loss of each network.

        Parameters
        ----------
        logits : tensor of shape (k, n_rows, n_classes)
            Of the networks of `models`.
        target : tensor of int64, shape (k, n_rows)
            Classes.
        weight : tensor of shape (k, n_rows) or None
            Sample weights.
        models : slice
            Which of the family's networks these are.
        training : bool
            Whether state may move.

        Returns
        -------
        losses : tensor of shape (k,)
        """

    def set_epoch(self, epoch: int) -> None:
        """Tell the criteria which epoch begins."""
        for criterion in self.criteria:
            criterion.set_epoch(epoch)

    def write(self) -> None:  # noqa: B027
        """Put state that has moved back into the criteria."""

    def keep(self, models: Sequence[int]) -> StackedLoss:
        """Return the losses of some of the networks."""
        self.write()
        return type(self)([self.criteria[model] for model in models], self.device)

    def row_weight(
        self, target: torch.Tensor, weight: torch.Tensor | None, models: slice
    ) -> torch.Tensor | None:
        """Multiply class weight and sample weight of each row."""
        if not self.is_weighted:
            return weight
        class_weight = self.class_weight[models].gather(1, target)
        return class_weight if weight is None else class_weight * weight

    def divisor(self, weight: torch.Tensor, models: slice) -> torch.Tensor:
        """Choose what weighted sums are divided by, as `reduction` says."""
        total = weight.sum(1)
        total = total + (total == 0)
        return torch.where(self.by_count[models], float(weight.shape[1]), total)

    def reduce(
        self,
        losses: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
    ) -> torch.Tensor:
        """Take the weighted mean of rows."""
        weight = self.row_weight(target, weight, models)
        if weight is None:
            weight = torch.ones_like(losses)
        # Divided first, as torch does in the gradient of its own cross-entropy.
        return (weight / self.divisor(weight, models).unsqueeze(1) * losses).sum(1)


class _CrossEntropies(StackedLoss):
    """Cross-entropy of logits that are scaled, shifted and have margins taken off."""

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        super().__init__(criteria, device)
        ones = torch.ones_like(criteria[0].class_counts)
        zeros = torch.zeros_like(ones)
        self.factor = self.numbers(
            lambda c: (
                c.factor
                if isinstance(c, VectorScalingCriterion)
                else ones * (c.scale if isinstance(c, LDAMCriterion) else 1)
            )
        )
        self.offset = self.numbers(
            lambda c: c.offset if isinstance(c, VectorScalingCriterion) else zeros
        )
        self.margin = self.numbers(
            lambda c: c.scale * c.margin if isinstance(c, LDAMCriterion) else zeros
        )
        self.smoothing = self.numbers(lambda c: c.label_smoothing)
        self._scales = bool((self.factor != 1).any())
        self._shifts = bool((self.offset != 0).any())
        self._has_margin = bool((self.margin != 0).any())
        self._smooths = bool((self.smoothing != 0).any())
        self._defers = any(isinstance(c, LDAMCriterion) for c in criteria) and self.is_weighted
        self.is_exact = not (
            self._smooths
            or any(isinstance(c, LDAMCriterion) for c in criteria)
            or any(c._is_weighted and c.reduction == "count" for c in criteria)
            or any(c._has_zero_weight for c in criteria)
        )

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if self._defers:

            def in_force(criterion: Any) -> torch.Tensor:
                weight = criterion.active_class_weight()
                return torch.ones_like(criterion.class_weight) if weight is None else weight

            self.class_weight = self.numbers(in_force)

    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        if self._scales:
            factor = self.factor[models].unsqueeze(1)
            logits = torch.addcmul(self.offset[models].unsqueeze(1), logits, factor)
        elif self._shifts:
            logits = logits + self.offset[models].unsqueeze(1)
        if self._has_margin:
            margin = self.margin[models].gather(1, target).unsqueeze(2)
            logits = logits - torch.zeros_like(logits).scatter_(2, target.unsqueeze(2), margin)
        log_proba = logits.log_softmax(2)
        if self.is_exact and self.device.type == "cpu":
            return self._compute_exactly(log_proba, target, models)
        losses = -log_proba.gather(2, target.unsqueeze(2)).squeeze(2)
        if not self._smooths:
            return self.reduce(losses, target, weight, models)
        row_weight = self.row_weight(target, weight, models)
        if row_weight is None:
            row_weight = torch.ones_like(losses)
        # As in torch, class weights apply to the smoothed part class by class.
        spread = (log_proba * -self.class_weight[models].unsqueeze(1)).mean(2)
        if weight is not None:
            spread = spread * weight
        share = self.smoothing[models].unsqueeze(1)
        total = ((1 - share) * row_weight * losses + share * spread).sum(1)
        return total / self.divisor(row_weight, models)

    def _compute_exactly(
        self, log_proba: torch.Tensor, target: torch.Tensor, models: slice
    ) -> torch.Tensor:
        """Take value and divisor from torch's own kernel, which sums in an order of its own."""
        with torch.no_grad():
            weights = self.class_weight[models]
            parts = zip(log_proba.unbind(0), target.unbind(0), weights.unbind(0), strict=True)
            mean = 1  # torch's number for it
            found = [torch.ops.aten.nll_loss_forward(*part, mean, -100) for part in parts]
            value = torch.stack([loss for loss, _ in found])
            divisor = torch.stack([total for _, total in found])
            share = weights.gather(1, target) * divisor.reciprocal().unsqueeze(1)
        losses = -log_proba.gather(2, target.unsqueeze(2)).squeeze(2)
        rounded = (share * losses).sum(1)
        return value + (rounded - rounded.detach())


class _Focals(StackedLoss):
    """Cross-entropy times (1 - p)^gamma."""

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        super().__init__(criteria, device)
        self.gamma = self.numbers(lambda c: c.gamma).unsqueeze(1)

    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        losses = _cross_entropy(logits, target)
        rest = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny)
        return self.reduce(rest ** self.gamma[models] * losses, target, weight, models)


class _Poly1s(StackedLoss):
    """Cross-entropy plus epsilon (1 - p)."""

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        super().__init__(criteria, device)
        self.epsilon = self.numbers(lambda c: c.epsilon).unsqueeze(1)

    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        losses = _cross_entropy(logits, target)
        losses = losses - self.epsilon[models] * torch.expm1(-losses)
        return self.reduce(losses, target, weight, models)


class _CVaRs(StackedLoss):
    """Mean of the worst share of the rows."""

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        super().__init__(criteria, device)
        self.alpha = self.numbers(lambda c: c.alpha).unsqueeze(1)

    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        losses = _cross_entropy(logits, target)
        alpha = self.alpha[models]
        weight = self.row_weight(target, weight, models)
        if weight is None:
            weight = torch.ones_like(losses)
        losses, order = losses.sort(dim=1, descending=True)
        weight = weight.gather(1, order)
        before = weight.cumsum(1) - weight
        left = alpha * weight.sum(1, keepdim=True) - before
        taken = torch.minimum(left.clamp(min=0), weight)
        return (taken * losses).sum(1) / (alpha.squeeze(1) * self.divisor(weight, models))


class _SoftF1s(StackedLoss):
    """One minus the mean F1 of the classes present, on probabilities."""

    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        proba = logits.softmax(2)
        member = _members(target, logits)
        weight = self.row_weight(target, weight, models)
        if weight is not None:
            member = member * weight.unsqueeze(2)
        support = member.sum(1)
        n_present = support.count_nonzero(dim=1)
        confusion = torch.bmm(member.mT, proba)
        size = confusion.sum(1) + support.clamp_min(torch.finfo(support.dtype).tiny)
        half_f1 = (confusion.diagonal(dim1=1, dim2=2) / size).sum(1)
        return (n_present - 2 * half_f1) / n_present.clamp_min(1)


class _Groups(StackedLoss):
    """Weighted sum of the mean losses of the classes of a batch."""

    def compute(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        models: slice,
        training: bool,
    ) -> torch.Tensor:
        losses = _cross_entropy(logits, target)
        with torch.no_grad():
            weight = self.row_weight(target, weight, models)
            member = _members(target, losses, logits.shape[2])
            size = member.sum(1)
            weighted = losses if weight is None else weight * losses
            total = torch.bmm(weighted.unsqueeze(1), member).squeeze(1)
            weight_sum = size
            if weight is not None:
                weight_sum = torch.bmm(weight.unsqueeze(1), member).squeeze(1)
            divisor = torch.where(self.by_count[models].unsqueeze(1), size, weight_sum)
            divisor = divisor.clamp_min(torch.finfo(divisor.dtype).tiny)
            share, excess = self.shares(total / divisor, weight_sum, models, training)
            slope = (share / divisor).gather(1, target)
            if weight is not None:
                slope = slope * weight
        return (slope * losses).sum(1) + excess

    @abstractmethod
    def shares(
        self, means: torch.Tensor, weight_sum: torch.Tensor, models: slice, training: bool
    ) -> tuple[torch.Tensor, torch.Tensor | float]:
        """Decide the weight of each class, and what the value exceeds their weighted sum by."""


class _Minimaxes(_Groups):
    """Loss of the worst class of a batch, or a soft maximum over the classes."""

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        super().__init__(criteria, device)
        self.temperature = self.numbers(lambda c: c.temperature).unsqueeze(1)
        self._is_soft = bool((self.temperature > 0).any())

    def shares(
        self, means: torch.Tensor, weight_sum: torch.Tensor, models: slice, training: bool
    ) -> tuple[torch.Tensor, torch.Tensor | float]:
        hard = torch.zeros_like(means).scatter_(1, means.argmax(1, keepdim=True), 1)
        if not self._is_soft:
            return hard, 0.0
        temperature = self.temperature[models]
        is_soft = temperature > 0
        temperature = torch.where(is_soft, temperature, 1.0)
        worst = means.amax(1, keepdim=True)
        present = (weight_sum > 0).to(means)
        below = torch.expm1((means - worst) / temperature) * present
        n_present = present.sum(1, keepdim=True).clamp_min(1)
        below_sum = below.sum(1, keepdim=True)
        soft = (below + present) / (below_sum + n_present)
        value = worst + temperature * torch.log1p(below_sum / n_present)
        excess = (value - (soft * means).sum(1, keepdim=True)) * is_soft
        return torch.where(is_soft, soft, hard), excess.squeeze(1)


class _GroupDROs(_Groups):
    """Mean of the classes' losses under shares that grow where the loss is high."""

    def __init__(self, criteria: Sequence[Criterion], device: torch.device) -> None:
        super().__init__(criteria, device)
        self.step_size = self.numbers(lambda c: c.step_size, torch.float64).unsqueeze(1)
        self.q = self.numbers(lambda c: c.q, torch.float64)

    def shares(
        self, means: torch.Tensor, weight_sum: torch.Tensor, models: slice, training: bool
    ) -> tuple[torch.Tensor, torch.Tensor | float]:
        if training:
            log_q = self.q[models].clamp(min=torch.finfo(self.q.dtype).tiny).log()
            moved = (log_q + self.step_size[models] * means.to(log_q)).softmax(1)
            self.q[models] = torch.where(self.step_size[models] == 0, self.q[models], moved)
        return self.q[models].to(means), 0.0

    def write(self) -> None:
        if self.device.type == "cpu":
            return  # the criteria were called, and moved their own
        for criterion, q in zip(self.criteria, self.q, strict=True):
            assert isinstance(criterion, GroupDROCriterion)
            criterion.q.copy_(q)


_FAMILIES: dict[type[Criterion], type[StackedLoss]] = {
    CrossEntropyCriterion: _CrossEntropies,
    VectorScalingCriterion: _CrossEntropies,
    LDAMCriterion: _CrossEntropies,
    FocalCriterion: _Focals,
    Poly1Criterion: _Poly1s,
    CVaRCriterion: _CVaRs,
    SoftF1Criterion: _SoftF1s,
    MinimaxCriterion: _Minimaxes,
    GroupDROCriterion: _GroupDROs,
}


def family_of(criterion: Criterion) -> type[StackedLoss] | None:
    """Return what stacks criteria of a kind.

    Parameters
    ----------
    criterion : Criterion
        Of a network.

    Returns
    -------
    family : type or None
        None where they can't be stacked: classes of the user's own, and minimax over chunks,
        whose number differs from batch to batch.
    """
    # The very class: one derived from it may compute anything.
    if isinstance(criterion, MinimaxCriterion) and criterion.groups != "class":
        return None
    return _FAMILIES.get(type(criterion))


def stack_losses(criteria: Sequence[Criterion], device: torch.device) -> StackedLoss:
    """Stack criteria of one family.

    Parameters
    ----------
    criteria : list of Criterion
        For which :func:`family_of` is the same.
    device : torch.device
        Where to compute.

    Returns
    -------
    loss : StackedLoss
    """
    family = family_of(criteria[0])
    assert family is not None
    return family(criteria, device)


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -logits.log_softmax(2).gather(2, target.unsqueeze(2)).squeeze(2)


def _members(
    target: torch.Tensor, like: torch.Tensor, n_classes: int | None = None
) -> torch.Tensor:
    n_classes = like.shape[2] if n_classes is None else n_classes
    flat = one_hot(target.reshape(-1), n_classes, like)
    return flat.view(*target.shape, n_classes)
