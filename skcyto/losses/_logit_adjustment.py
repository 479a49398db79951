"""Losses that tell the logits about the class shares during training."""

from __future__ import annotations

from typing import Any

import torch

from skcyto.losses._base import Loss, check_number
from skcyto.losses._criterion import Criterion
from skcyto.losses._cross_entropy import CrossEntropyCriterion
from skcyto.losses._weights import ClassWeight


class VectorScalingCriterion(CrossEntropyCriterion):
    """Cross-entropy of factor * logits + offset, one of each a class."""

    stackable_numbers = ()
    factor: torch.Tensor
    offset: torch.Tensor
    _no_prior_correction = (
        "vector scaling (gamma other than 0) multiplies the logits, which no factor a class undoes"
    )

    def __init__(self, class_counts: Any, *, gamma: float, tau: float, **kwargs: Any) -> None:
        super().__init__(class_counts, **kwargs)
        counts = self.class_counts
        self.register_buffer("factor", (counts / counts.max()) ** gamma)
        self.register_buffer("offset", tau * self._log_prior())
        self._scales = gamma != 0
        self._shifts = tau != 0

    def adjust(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scale and shift the logits."""
        if self._scales and self._shifts:
            return torch.addcmul(self.offset.to(logits), logits, self.factor.to(logits))
        if self._scales:
            return logits * self.factor.to(logits)
        return logits + self.offset.to(logits) if self._shifts else logits

    def _log_train_correction(self) -> torch.Tensor:
        if self._scales:
            return Criterion._log_train_correction(self)
        return self._log_weight_correction() + self.offset


class BalancedSoftmax(Loss):
    r"""Balanced softmax: cross-entropy of :math:`z + \log n`.

    The same as :class:`LogitAdjusted` with ``tau=1``, without a parameter to set.

    See Also
    --------
    LogitAdjusted : The same with an adjustable strength.

    Notes
    -----
    The trained model predicts as if the classes were equally frequent; the way back to a prior is
    exact.

    References
    ----------
    .. [1] Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020,
       equation 4.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import BalancedSoftmax
    >>> criterion = BalancedSoftmax().build([90, 10])
    >>> round(criterion(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    2.3026
    """

    name = "balanced_softmax"
    uses_class_counts = True

    def __init__(self) -> None:
        pass

    def make_criterion(
        self,
        class_counts: torch.Tensor,
        *,
        class_weight: ClassWeight,
        reduction: str,
        max_epochs: int | None,
    ) -> Criterion:
        """Make the criterion; see :meth:`Loss.make_criterion`."""
        return VectorScalingCriterion(
            class_counts, class_weight=class_weight, reduction=reduction, gamma=0.0, tau=1.0
        )


class LogitAdjusted(Loss):
    r"""Logit-adjusted loss: cross-entropy of :math:`z + \tau \log\pi`.

    Parameters
    ----------
    tau : float, default=1.0
        Strength; 0 is the cross-entropy, 1 makes the argmax the balanced decision. Not negative.

    See Also
    --------
    BalancedSoftmax : The case of ``tau=1``.
    skcyto.model_selection.TunedLogitBiasClassifierCV : Offsets found after training instead.

    Notes
    -----
    The post-hoc twin, :math:`\arg\max z - \tau\log\pi` of a model trained with plain
    cross-entropy, corrects the same thing: never use both. The way back to a prior is exact.

    References
    ----------
    .. [1] Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import LogitAdjusted
    >>> criterion = LogitAdjusted(tau=0.5).build([90, 10])
    >>> round(criterion(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    1.3863
    """

    name = "logit_adjusted"
    uses_class_counts = True

    def __init__(self, tau: float = 1.0) -> None:
        self.tau = tau

    def _validate(self) -> None:
        check_number("tau", self.tau, 0)

    def make_criterion(
        self,
        class_counts: torch.Tensor,
        *,
        class_weight: ClassWeight,
        reduction: str,
        max_epochs: int | None,
    ) -> Criterion:
        """Make the criterion; see :meth:`Loss.make_criterion`."""
        return VectorScalingCriterion(
            class_counts,
            class_weight=class_weight,
            reduction=reduction,
            gamma=0.0,
            tau=float(self.tau),
        )


class VectorScaling(Loss):
    r"""Vector-scaling loss: cross-entropy of :math:`z_c (n_c/n_{max})^\gamma + \tau\log\pi_c`.

    Parameters
    ----------
    gamma : float, default=0.3
        Strength of the factors; 0 is :class:`LogitAdjusted`. Not negative.
    tau : float, default=1.0
        Strength of the offsets. Not negative.

    See Also
    --------
    LogitAdjusted : Offsets alone.

    Notes
    -----
    The classifiers predict from the plain logits, as the paper does. No offset a class leads back
    to a prior unless ``gamma=0``.

    References
    ----------
    .. [1] Kini, Paraskevas, Oymak and Thrampoulidis, "Label-Imbalanced and Group-Sensitive
       Classification under Overparameterization", NeurIPS 2021, equation 2.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import VectorScaling
    >>> criterion = VectorScaling(gamma=0.5).build([90, 10])
    >>> round(criterion(torch.tensor([[0.0, 3.0]]), torch.tensor([1])).item(), 4)
    1.4612
    """

    name = "vector_scaling"
    criterion_class = VectorScalingCriterion
    uses_class_counts = True

    def __init__(self, gamma: float = 0.3, tau: float = 1.0) -> None:
        self.gamma = gamma
        self.tau = tau

    def _validate(self) -> None:
        check_number("gamma", self.gamma, 0)
        check_number("tau", self.tau, 0)
