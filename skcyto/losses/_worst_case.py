"""Losses that look at the worst group or the worst rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch

from skcyto.losses._base import Loss, check_number
from skcyto.losses._criterion import Criterion, sum_by_group
from skcyto.losses._cross_entropy import CrossEntropyCriterion
from skcyto.losses._weights import ClassWeight

GROUPINGS = ("chunk", "class")


class _GroupCriterion(Criterion, ABC):
    """Weighted sum of the mean losses of the groups of a batch.

    Which weight a group has follows from the means, outside the graph: the graph holds nothing
    but one dot product with the rows' losses, which is what makes these losses quick.
    """

    _no_prior_correction = "the weights of the groups change during training"

    def slopes(
        self,
        group: torch.Tensor,
        means: torch.Tensor,
        divisor: torch.Tensor,
        weight_sum: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Decide the factor of each row's loss, but for the row's own weight.

        Parameters
        ----------
        group : torch.Tensor of shape (n_samples,), dtype int64
            Group of each row.
        means, weight_sum : torch.Tensor of shape (n_groups,)
            As for `shares`.
        divisor : torch.Tensor of shape (n_groups,)
            What the losses of a group were divided by.

        Returns
        -------
        slope : torch.Tensor of shape (n_samples,)
        excess : torch.Tensor or None
            As of `shares`.
        """
        share, excess = self.shares(means, weight_sum)
        return (share / divisor).index_select(0, group), excess

    @abstractmethod
    def shares(
        self, means: torch.Tensor, weight_sum: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Decide the weight of each group.

        Parameters
        ----------
        means : torch.Tensor of shape (n_groups,)
            Mean loss of each group, 0 where it has no row.
        weight_sum : torch.Tensor of shape (n_groups,)
            Rows of each group, or the sum of their weights.

        Returns
        -------
        share : torch.Tensor of shape (n_groups,)
        excess : torch.Tensor or None
            What the value exceeds the weighted sum of the means by.
        """

    def reduce(
        self, losses: torch.Tensor, target: torch.Tensor, sample_weight: torch.Tensor | None
    ) -> torch.Tensor:
        """Combine the groups' means."""
        if not len(losses):
            return losses.sum()
        with torch.no_grad():
            weight = self.row_weight(target, sample_weight, losses)
            weighted = losses if weight is None else weight * losses
            group, total, size, weight_sum = self.group_sums(target, weighted, weight)
            divisor = size if self.reduction == "count" else weight_sum
            divisor = divisor.clamp_min(torch.finfo(divisor.dtype).tiny)
            slope, excess = self.slopes(group, total / divisor, divisor, weight_sum)
            if weight is not None:
                slope *= weight
        value = torch.dot(slope, losses)
        return value if excess is None else value + excess

    def group_sums(
        self, target: torch.Tensor, weighted: torch.Tensor, weight: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Group of each row; weighted loss, rows and weight of each group. Classes are groups."""
        return target, *self._sums(target, weighted, weight, self.n_classes)

    @staticmethod
    def _sums(
        group: torch.Tensor, weighted: torch.Tensor, weight: torch.Tensor | None, n_groups: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size = sum_by_group(torch.ones_like(weighted), group, n_groups)
        weight_sum = size if weight is None else sum_by_group(weight, group, n_groups)
        return sum_by_group(weighted, group, n_groups), size, weight_sum


class MinimaxCriterion(_GroupCriterion):
    """Loss of the worst group of a batch, or a soft maximum over the groups."""

    stackable_numbers = ()
    _no_sample_weight = (
        "its chunks are numbers of rows, so that a weight of two has no meaning; use "
        "grouping='class'"
    )

    def __init__(
        self, class_counts: Any, *, grouping: str, temperature: float, **kwargs: Any
    ) -> None:
        super().__init__(class_counts, **kwargs)
        self.grouping = grouping
        self.temperature = float(temperature)
        self.supports_sample_weight = grouping == "class"
        self.register_buffer("_classes", torch.arange(self.n_classes), persistent=False)

    _classes: torch.Tensor

    @property
    def is_stackable(self) -> bool:
        """Not over chunks, which are cut by the rows of each batch."""
        return super().is_stackable and self.grouping == "class"

    def slopes(
        self,
        group: torch.Tensor,
        means: torch.Tensor,
        divisor: torch.Tensor,
        weight_sum: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """All weight on the worst group, or spread by a softmax."""
        if self.temperature != 0:
            return super().slopes(group, means, divisor, weight_sum)
        # Groups without rows stand at 0, the least that a group with rows can have.
        worst = means.argmax(0, keepdim=True)
        return (group == worst) / divisor.index_select(0, worst), None

    def shares(
        self, means: torch.Tensor, weight_sum: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Softmax of the means; T (logsumexp(L/T) - log G) exceeds their mean by an entropy."""
        present = weight_sum.sign()
        share = torch.add(present.log(), means, alpha=1 / self.temperature).softmax(0)
        share.nan_to_num_(0.0)  # where no group has any weight
        entropy = torch.special.entr(share).sum()
        return share, self.temperature * (entropy - present.sum().clamp_min_(1).log_())

    def group_sums(
        self, target: torch.Tensor, weighted: torch.Tensor, weight: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Group of each row; weighted loss, rows and weight of each group."""
        if self.grouping == "class":
            return super().group_sums(target, weighted, weight)
        n_samples, n_classes = len(target), self.n_classes
        if target.device.type == "cpu":
            # numpy's calls take a third of the time of torch's on arrays as small as a batch.
            chunk = torch.from_numpy(_cut_into_chunks(target.numpy(), self._classes.numpy()))
        else:
            chunk = _cut_into_chunks(target, self._classes)
        return chunk, *self._sums(chunk, weighted, weight, n_samples * n_classes)


def _cut_into_chunks(target: Any, classes: Any) -> Any:
    """Give each row the number of its chunk; arrays of numpy or of torch, of one kind."""
    own = target[:, None] == classes
    # Rows of the class so far, up to and with each row; in the last row, of the batch.
    seen = own.cumsum(0)
    count = seen[-1][target]
    within = (seen * own).sum(1)
    # Of k chunks of n rows of a class, row r = 1..n is in chunk (r k - 1) // n. In integers:
    # rounding could move a row over the edge between two chunks.
    return target + (within * (count // count.min()) - 1) // count * len(classes)


class GroupDROCriterion(_GroupCriterion):
    """Mean of the classes' losses under shares that grow where the loss is high."""

    stackable_numbers = ("step_size",)
    q: torch.Tensor

    def __init__(self, class_counts: Any, *, step_size: float, **kwargs: Any) -> None:
        super().__init__(class_counts, **kwargs)
        self.step_size = float(step_size)
        n_classes = self.n_classes
        self.register_buffer("q", torch.full((n_classes,), 1 / n_classes, dtype=torch.float64))

    def shares(
        self, means: torch.Tensor, weight_sum: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Move the shares, in training mode, and use them."""
        if self.training:
            # In logarithms: exp(step_size * loss) overflows where logits run away.
            log_q = self.q.clamp(min=torch.finfo(self.q.dtype).tiny).log_()
            log_q.add_(self.step_size * means.to(log_q))
            self.q.copy_(log_q.softmax(0))
        return self.q.to(means), None


class CVaRCriterion(Criterion):
    """Mean of the worst share of the rows."""

    stackable_numbers = ()
    _no_prior_correction = "which rows count depends on the model"

    def __init__(self, class_counts: Any, *, alpha: float, **kwargs: Any) -> None:
        super().__init__(class_counts, **kwargs)
        self.alpha = float(alpha)

    def reduce(
        self, losses: torch.Tensor, target: torch.Tensor, sample_weight: torch.Tensor | None
    ) -> torch.Tensor:
        """Take the mean of the worst rows, the last of them in part."""
        n_samples = len(losses)
        if not n_samples:
            return losses.sum()
        weight = self.row_weight(target, sample_weight, losses)
        if weight is None:
            n_worst = self.alpha * n_samples
            n_touched = math.ceil(n_worst)
            share = losses.new_full((n_touched,), 1 / n_worst)
            share[-1] = (n_worst - n_touched + 1) / n_worst
            return torch.dot(share, losses.topk(n_touched).values)
        order = losses.detach().argsort(descending=True)
        weight = weight.index_select(0, order)
        before = weight.cumsum(0) - weight
        taken = torch.minimum((self.alpha * weight.sum() - before).clamp(min=0), weight)
        total = torch.dot(taken, losses.index_select(0, order))
        return total / (self.alpha * self.divisor(weight, n_samples))


class Minimax(Loss):
    r"""Minimax loss: the mean loss of the worst group of the batch.

    Parameters
    ----------
    grouping : {"class", "chunk"}, default="class"
        "class": a group holds the rows of one class. "chunk": each class is cut, in the order of
        the batch, into equal chunks of at least as many rows as the rarest class present has,
        and each chunk is a group, so that groups are of one size.
    temperature : float, default=0.0
        0 is the maximum over the groups. Above, :math:`T (\log\sum_g e^{L_g/T} - \log G)`, which
        tends to the mean of the groups' means as :math:`T` grows. 0.1 to 0.3 trains far better
        than the maximum, which follows one group at a time.

    See Also
    --------
    GroupDRO : A smoother way to the same end.
    skcyto.neural_network.GroupedBatchSampler : Batches with as many rows of each class.

    Notes
    -----
    Groups come from the batch: a class without a row in it does not count, so batches should hold
    every class. As a group holds one class, class weights cancel out of its mean; with
    ``reduction="count"`` they multiply it.

    "chunk" takes no sample weights. No exact way back to a prior exists. First derivatives alone
    are exact: second ones take the weights of the groups as constants.

    References
    ----------
    .. [1] Xu, Zhao, Zheng and Xiong, "Minimax: learning from non-independent and identically
       distributed data", arXiv:1807.06711.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import Minimax
    >>> criterion = Minimax().build([90, 10])
    >>> logits = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    >>> round(criterion(logits, torch.tensor([0, 0, 1])).item(), 4)
    0.6931
    """

    name = "minimax"
    criterion_class = MinimaxCriterion
    needs_every_class_in_batch = True

    def __init__(self, grouping: str = "class", temperature: float = 0.0) -> None:
        self.grouping = grouping
        self.temperature = temperature

    @property
    def supports_sample_weight(self) -> bool:
        """Whether the criterion takes sample weights: not with ``grouping="chunk"``."""
        return self.grouping == "class"

    def _validate(self) -> None:
        if self.grouping not in GROUPINGS:
            raise ValueError(f"grouping={self.grouping!r} must be one of {list(GROUPINGS)}")
        check_number("temperature", self.temperature, 0)


class GroupDRO(Loss):
    r"""Group distributionally robust optimisation with classes as groups.

    Each training step multiplies the share of a class by :math:`e^{\eta L_c}`, makes the shares
    sum to one and returns :math:`\sum_c q_c L_c`.

    Parameters
    ----------
    step_size : float, default=0.01
        Step :math:`\eta` of the shares; 0 is the mean of the class means. Not negative.

    See Also
    --------
    Minimax : The worst class alone.
    skcyto.neural_network.GroupedBatchSampler : Batches with as many rows of each class.

    Notes
    -----
    The shares are the buffer ``q`` of the criterion, in double precision: part of its state dict,
    equal at first, constants in the gradient, moved in training mode only. A class without a row
    in the batch has loss zero there: its share keeps its size relative to that of a class
    without loss.

    Class weights cancel out of the class means; with ``reduction="count"`` they multiply them. No
    exact way back to a prior exists.

    References
    ----------
    .. [1] Sagawa, Koh, Hashimoto and Liang, "Distributionally Robust Neural Networks for Group
       Shifts", ICLR 2020, algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import GroupDRO
    >>> criterion = GroupDRO(step_size=1.0).build([90, 10])
    >>> logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> round(criterion(logits, torch.tensor([0, 1])).item(), 4)
    1.0443
    >>> criterion.q.round(decimals=3).tolist()
    [0.269, 0.731]
    """

    name = "group_dro"
    criterion_class = GroupDROCriterion
    needs_every_class_in_batch = True

    def __init__(self, step_size: float = 0.01) -> None:
        self.step_size = step_size

    def _validate(self) -> None:
        check_number("step_size", self.step_size, 0)


class CVaR(Loss):
    r"""Conditional value at risk: the mean of the worst rows of the batch.

    Parameters
    ----------
    alpha : float, default=0.5
        Share of the rows, in (0, 1], the last row counted in part; 1 is the cross-entropy.

    See Also
    --------
    Minimax : The worst class instead of the worst rows.

    Notes
    -----
    With weights, the share is one of the sum of the weights. The loss knows no classes: it helps a
    rare class only as far as its rows are the hard ones, and mislabelled rows are hard too. No
    exact way back to a prior exists unless ``alpha=1``.

    References
    ----------
    .. [1] Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", Journal of Risk
       2(3), 2000.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import CVaR
    >>> criterion = CVaR(alpha=0.5).build([90, 10])
    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    >>> round(criterion(logits, torch.tensor([0, 1])).item(), 4)
    0.6931
    """

    name = "cvar"

    def __init__(self, alpha: float = 0.5) -> None:
        self.alpha = alpha

    def _validate(self) -> None:
        check_number("alpha", self.alpha, 0, 1, include_low=False)

    def make_criterion(
        self,
        class_counts: torch.Tensor,
        *,
        class_weight: ClassWeight,
        reduction: str,
        max_epochs: int | None,
    ) -> Criterion:
        """Make the criterion; see :meth:`Loss.make_criterion`."""
        if self.alpha == 1:
            return CrossEntropyCriterion(
                class_counts, class_weight=class_weight, reduction=reduction
            )
        return CVaRCriterion(
            class_counts, class_weight=class_weight, reduction=reduction, alpha=self.alpha
        )
