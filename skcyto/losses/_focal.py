"""Losses that change how much a row counts by how well it is classified."""

from __future__ import annotations

from typing import Any

import torch

from skcyto.losses._base import Loss, check_number
from skcyto.losses._criterion import Criterion
from skcyto.losses._weights import DEFAULT_BETA, ClassWeight, class_weight_from_counts


class FocalCriterion(Criterion):
    """Cross-entropy times (1 - p)^gamma."""

    stackable_numbers = ("gamma",)
    _no_prior_correction = "focal loss is least at probabilities drawn towards one another"

    def __init__(self, class_counts: Any, *, gamma: float, **kwargs: Any) -> None:
        super().__init__(class_counts, **kwargs)
        self.gamma = float(gamma)

    def sample_losses(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute (1 - p)^gamma times the cross-entropy of each row."""
        cross_entropy = super().sample_losses(logits, target)
        # 1 - p from the cross-entropy by expm1 keeps its digits for sure rows, where 1 - exp
        # has none left. It may still round to zero: a power below one has no gradient there.
        rest = -torch.expm1(-cross_entropy)
        rest = rest.clamp(min=torch.finfo(rest.dtype).tiny)
        return rest**self.gamma * cross_entropy

    def _log_train_correction(self) -> torch.Tensor:
        return super()._log_train_correction() if self.gamma else self._log_weight_correction()


class Poly1Criterion(Criterion):
    """Cross-entropy with the first term of its expansion changed."""

    stackable_numbers = ("epsilon",)
    _no_prior_correction = "poly-1 loss is least at shifted probabilities"

    def __init__(self, class_counts: Any, *, epsilon: float, **kwargs: Any) -> None:
        super().__init__(class_counts, **kwargs)
        self.epsilon = float(epsilon)

    def sample_losses(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Add epsilon (1 - p) to the cross-entropy of each row."""
        cross_entropy = super().sample_losses(logits, target)
        return cross_entropy - self.epsilon * torch.expm1(-cross_entropy)

    def _log_train_correction(self) -> torch.Tensor:
        return super()._log_train_correction() if self.epsilon else self._log_weight_correction()


class Focal(Loss):
    r"""Focal loss :math:`-(1 - p_y)^\gamma \log p_y`: easy rows count less.

    Parameters
    ----------
    gamma : float, default=2.0
        How much less; 0 is the cross-entropy. Not negative.

    See Also
    --------
    ClassBalanced : Focal loss or cross-entropy with effective-number weights.

    Notes
    -----
    Class weights multiply the loss from outside; they are no part of *p*. Focal loss says nothing
    about class counts: use class weights beside it against imbalance. No exact way back to a
    prior exists; see :class:`sklearn.calibration.CalibratedClassifierCV`.

    References
    ----------
    .. [1] Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", ICCV
       2017, equation 4.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import Focal
    >>> criterion = Focal(gamma=1.5).build([50, 50])
    >>> round(criterion(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    0.2451
    """

    name = "focal"
    criterion_class = FocalCriterion

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma

    def _validate(self) -> None:
        check_number("gamma", self.gamma, 0)


class ClassBalanced(Loss):
    r"""Cross-entropy or focal loss with weights by the effective number of samples.

    Class weights are :math:`(1-\beta) / (1-\beta^{n_c})`, scaled to sum to the number of classes.

    Parameters
    ----------
    beta : float, default=0.9999
        0 gives equal weights; towards 1 they become balanced. In [0, 1).
    gamma : float, default=0.0
        Exponent of the focal loss; 0 is the cross-entropy.

    See Also
    --------
    compute_class_weight : The weights alone.

    Notes
    -----
    The loss brings its class weights: naming others is an error, except "effective". The way back
    to a prior is exact for ``gamma=0``.

    References
    ----------
    .. [1] Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss Based on Effective Number of
       Samples", CVPR 2019, equations 3 to 5.

    Examples
    --------
    >>> from skcyto.losses import ClassBalanced
    >>> ClassBalanced(beta=0.999).build([5000, 50]).class_weight.round(decimals=3).tolist()
    [0.094, 1.906]
    """

    name = "class_balanced"
    uses_class_counts = True
    default_class_weight = "effective"

    def __init__(self, beta: float = DEFAULT_BETA, gamma: float = 0.0) -> None:
        self.beta = beta
        self.gamma = gamma

    def _validate(self) -> None:
        check_number("beta", self.beta, 0, 1, include_high=False)
        check_number("gamma", self.gamma, 0)

    def make_criterion(
        self,
        class_counts: torch.Tensor,
        *,
        class_weight: ClassWeight,
        reduction: str,
        max_epochs: int | None,
    ) -> Criterion:
        """Make the criterion; see :meth:`Loss.make_criterion`."""
        if not (isinstance(class_weight, str) and class_weight == "effective"):
            raise ValueError(
                f"ClassBalanced sets the class weights itself, got class_weight={class_weight!r}: "
                "leave it None, or use CrossEntropy or Focal with these weights"
            )
        return FocalCriterion(
            class_counts,
            gamma=self.gamma,
            class_weight=class_weight_from_counts("effective", class_counts, beta=self.beta),
            reduction=reduction,
        )


class Poly1(Loss):
    r"""Poly-1 loss :math:`-\log p_y + \epsilon (1 - p_y)`.

    Parameters
    ----------
    epsilon : float, default=1.0
        Weight of the second term, at least -1; 0 is the cross-entropy.

    See Also
    --------
    Focal : Takes the opposite way, for positive `epsilon`.

    Notes
    -----
    No way back to a prior that is a factor a class exists unless ``epsilon=0``.

    References
    ----------
    .. [1] Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
       Functions", ICLR 2022, section 4.1.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import Poly1
    >>> criterion = Poly1(epsilon=1).build([50, 50])
    >>> round(criterion(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    1.1931
    """

    name = "poly1"
    criterion_class = Poly1Criterion

    def __init__(self, epsilon: float = 1.0) -> None:
        self.epsilon = epsilon

    def _validate(self) -> None:
        # Below -1 the gradient pushes sure rows away from their class.
        check_number("epsilon", self.epsilon, -1)
