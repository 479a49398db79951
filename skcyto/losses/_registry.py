"""Losses by name."""

from __future__ import annotations

import difflib

from skcyto.losses._base import Loss
from skcyto.losses._cross_entropy import CrossEntropy, WeightedCrossEntropy
from skcyto.losses._focal import ClassBalanced, Focal, Poly1
from skcyto.losses._logit_adjustment import BalancedSoftmax, LogitAdjusted, VectorScaling
from skcyto.losses._margin import LDAM
from skcyto.losses._soft_f1 import SoftF1
from skcyto.losses._worst_case import CVaR, GroupDRO, Minimax

_LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        CrossEntropy,
        WeightedCrossEntropy,
        Focal,
        LDAM,
        ClassBalanced,
        BalancedSoftmax,
        LogitAdjusted,
        VectorScaling,
        Minimax,
        GroupDRO,
        CVaR,
        SoftF1,
        Poly1,
    )
}


def available() -> list[str]:
    """List the names that :func:`get_loss` knows.

    Returns
    -------
    names : list of str

    Examples
    --------
    >>> from skcyto import losses
    >>> losses.available()[:4]
    ['ce', 'wce', 'focal', 'ldam']
    """
    return list(_LOSSES)


def get_loss(loss: str | Loss) -> Loss:
    """Look a loss up by name.

    Parameters
    ----------
    loss : str or Loss
        A name from :func:`available`, which gives the loss with its default parameters, or a
        parameter object, which is given back as it is.

    Returns
    -------
    loss : Loss

    Raises
    ------
    ValueError
        If there is no loss of that name.
    TypeError
        If `loss` is neither a name nor a :class:`Loss`.

    Examples
    --------
    >>> from skcyto.losses import get_loss
    >>> get_loss("focal")
    Focal()
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        hint = f"; did you mean {loss.__name__}()?" if isinstance(loss, type) else ""
        raise TypeError(
            f"loss must be a name or an object of skcyto.losses such as Focal(gamma=1.5), "
            f"got {loss!r}{hint}"
        )
    if loss not in _LOSSES:
        close = difflib.get_close_matches(loss.lower().replace("-", "_"), _LOSSES, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"loss={loss!r} is unknown.{hint} Available: {', '.join(_LOSSES)}")
    return _LOSSES[loss]()
