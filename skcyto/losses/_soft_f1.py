"""A loss made from the F1 score."""

from __future__ import annotations

import torch

from skcyto.losses._base import Loss
from skcyto.losses._criterion import Criterion, one_hot


class SoftF1Criterion(Criterion):
    """One minus the mean F1 of the classes present, on probabilities."""

    stackable_numbers = ()
    _no_prior_correction = "it rewards sure decisions, not right probabilities"

    def compute(
        self, logits: torch.Tensor, target: torch.Tensor, sample_weight: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute one minus macro F1 with probabilities for decisions."""
        proba = logits.softmax(1)
        member = one_hot(target, self.n_classes, logits)
        weight = self.row_weight(target, sample_weight, logits)
        if weight is not None:
            member *= weight.unsqueeze(1)
        support = member.sum(0)
        present = support.sign()
        n_present = present.sum().clamp_min_(1)
        # 2 tp + fp + fn is the sum of what is predicted and what is there; an absent class has
        # tp = 0 and adds nothing. The least size is one whose square is a number too.
        predicted = proba.sum(0) if weight is None else weight @ proba
        size = predicted + support.clamp_min_(torch.finfo(support.dtype).tiny ** 0.5)
        half_f1 = torch.dot((proba / size).flatten(), member.div_(n_present).flatten())
        return torch.sub(present.amax(), half_f1, alpha=2)


class SoftF1(Loss):
    r"""Soft macro F1: :math:`1 - \frac{1}{|P|}\sum_{c \in P} 2tp_c / (2tp_c + fp_c + fn_c)`.

    Experimental. True and false positives are sums of softmax probabilities over the batch, and
    *P* the classes present in it.

    See Also
    --------
    skcyto.model_selection.TunedLogitBiasClassifierCV : Tune decisions for F1 after training.

    Notes
    -----
    F1 is no mean over rows: batches should be large and hold every class, the gradient dies out
    where the softmax is sure, and the probabilities that come out are not calibrated. Class and
    sample weights count a row that many times; `reduction` has no effect. No way back to a
    prior exists.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import SoftF1
    >>> criterion = SoftF1().build([90, 10])
    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(criterion(logits, torch.tensor([0, 1])).item(), 4)
    0.2689
    """

    name = "soft_f1"
    criterion_class = SoftF1Criterion
    needs_every_class_in_batch = True

    def __init__(self) -> None:
        pass
