"""Class counts and the class weights made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import torch

from skcyto.exceptions import MissingClassWarning
from skcyto.utils._warnings import warn

ClassWeight: TypeAlias = "str | Sequence[float] | torch.Tensor | None"

CLASS_WEIGHTS = ("balanced", "effective", "max_ratio")
DEFAULT_BETA = 0.9999


def check_class_counts(class_counts: Any) -> torch.Tensor:
    """Validate class counts and give absent classes the count of one.

    Parameters
    ----------
    class_counts : array-like of shape (n_classes,)
        Rows, or sums of sample weights, of each class of the training split.

    Returns
    -------
    class_counts : torch.Tensor of shape (n_classes,), dtype float64
        On the CPU. A count of zero has become 1, or the smallest positive count where that is
        below 1 (sums of small sample weights), so that an absent class never outweighs a
        present one.

    Raises
    ------
    ValueError
        If there are fewer than two classes, a count is negative or not finite, or all are zero.

    Warns
    -----
    MissingClassWarning
        If a class has no case.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64, device="cpu").detach().clone()
    if counts.ndim != 1 or len(counts) < 2:
        raise ValueError(
            "class_counts must hold one number for each of two or more classes, "
            f"got shape {tuple(counts.shape)}"
        )
    if not bool(torch.isfinite(counts).all()) or bool((counts < 0).any()):
        raise ValueError(f"class_counts must be finite and not negative, got {counts.tolist()}")
    absent = counts == 0
    if bool(absent.all()):
        raise ValueError("class_counts are all zero: there is no case to learn from")
    if bool(absent.any()):
        warn(
            f"the classes at positions {absent.nonzero().flatten().tolist()} have no case in the "
            "training split; the loss counts one for each. Stratify the split, or leave these "
            "classes out",
            MissingClassWarning,
        )
        counts[absent] = min(1.0, float(counts[~absent].min()))
    return counts


def compute_class_weight(
    class_weight: ClassWeight, class_counts: Any, *, beta: float = DEFAULT_BETA
) -> torch.Tensor:
    r"""Compute the weight of each class from the class counts.

    With :math:`n_c` cases of class *c*, :math:`n` in all and :math:`C` classes:

    ============== =========================================================================
    "balanced"     :math:`n / (C n_c)`, as in scikit-learn
    "max_ratio"    :math:`\max_k n_k / n_c`: one for the largest class
    "effective"    :math:`(1-\beta) / (1-\beta^{n_c})`, scaled to sum to :math:`C` [1]_
    ============== =========================================================================

    Parameters
    ----------
    class_weight : {"balanced", "max_ratio", "effective"}, sequence of float or None
        Name of a rule, the weights themselves in the order of the classes, or None for ones.
    class_counts : array-like of shape (n_classes,)
        Rows, or sums of sample weights, of each class of the training split. Zeros count as one,
        with a :class:`~skcyto.exceptions.MissingClassWarning`.
    beta : float, default=0.9999
        For "effective" alone: 0 gives equal weights; towards 1 they become inversely
        proportional to the counts. In [0, 1).

    Returns
    -------
    class_weight : torch.Tensor of shape (n_classes,), dtype float64

    Raises
    ------
    ValueError
        If the name is unknown, or given weights have the wrong number, are negative or not
        finite, or are all zero.

    References
    ----------
    .. [1] Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss Based on Effective Number of
       Samples", CVPR 2019, equation 3.

    Examples
    --------
    >>> from skcyto.losses import compute_class_weight
    >>> compute_class_weight("max_ratio", [50371, 28895, 5814]).round(decimals=3).tolist()
    [1.0, 1.743, 8.664]
    """
    return class_weight_from_counts(class_weight, check_class_counts(class_counts), beta=beta)


def class_weight_from_counts(
    class_weight: ClassWeight, counts: torch.Tensor, *, beta: float = DEFAULT_BETA
) -> torch.Tensor:
    """Compute class weights from counts that :func:`check_class_counts` has seen."""
    n_classes = len(counts)
    if class_weight is None:
        return torch.ones_like(counts)
    if isinstance(class_weight, str):
        if class_weight == "balanced":
            return counts.sum() / (n_classes * counts)
        if class_weight == "max_ratio":
            return counts.max() / counts
        if class_weight == "effective":
            return _effective_number_weight(counts, beta)
        raise ValueError(
            f"class_weight={class_weight!r} is unknown: use None, one of {list(CLASS_WEIGHTS)} "
            "or a sequence with one weight a class"
        )
    if isinstance(class_weight, Mapping):
        raise ValueError(
            "a loss knows classes by position: give class_weight as a sequence in the order of "
            "the classes (the classifiers take a dict keyed by label)"
        )
    try:
        weight = torch.as_tensor(class_weight, dtype=torch.float64, device="cpu").detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"class_weight={class_weight!r} must be None, one of {list(CLASS_WEIGHTS)} or a "
            f"sequence of numbers: {error}"
        ) from error
    if weight.shape != counts.shape:
        raise ValueError(
            f"class_weight has shape {tuple(weight.shape)} for {n_classes} classes: give one "
            "weight a class"
        )
    if not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()):
        raise ValueError(f"class_weight must be finite and not negative, got {weight.tolist()}")
    if not bool((weight > 0).any()):
        raise ValueError("class_weight is zero for every class: nothing would be learnt")
    return weight


def _effective_number_weight(counts: torch.Tensor, beta: float) -> torch.Tensor:
    if not isinstance(beta, Real) or not 0 <= beta < 1:
        raise ValueError(f"beta={beta!r} must be a number in [0, 1)")
    if beta == 0:
        return torch.ones_like(counts)
    # expm1: 1 - beta**n loses all digits to cancellation where beta is near 1 and n is small.
    weight = (1 - beta) / -torch.expm1(counts * math.log(beta))
    return weight * (len(counts) / weight.sum())
