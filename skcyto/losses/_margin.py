"""Margins that are wider for rarer classes."""

from __future__ import annotations

from typing import Any

import torch

from skcyto.exceptions import ImbalanceWarning
from skcyto.losses._base import Loss, check_number
from skcyto.losses._criterion import Criterion
from skcyto.losses._cross_entropy import CrossEntropyCriterion
from skcyto.losses._weights import ClassWeight
from skcyto.utils._warnings import warn


class LDAMCriterion(CrossEntropyCriterion):
    """Scaled cross-entropy with the margin taken off the true class's logit."""

    stackable_numbers = ("scale",)
    _no_prior_correction = "the margins of LDAM move its minimum by more than a factor a class"

    def __init__(
        self,
        class_counts: Any,
        *,
        max_margin: float,
        scale: float,
        first_weighted_epoch: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(class_counts, **kwargs)
        margin = max_margin * (self.class_counts.min() / self.class_counts) ** 0.25
        self.register_buffer("margin", margin)
        self.scale = float(scale)
        self._has_margin = bool((margin != 0).any())
        # What is added to the scaled logits of a row, by its class.
        self.register_buffer("_offset", (-self.scale * margin).diag(), persistent=False)
        self._first_weighted_epoch = first_weighted_epoch
        self._is_deferred = first_weighted_epoch > 0 and bool((self.class_weight != 1).any())
        self.set_epoch(0)

    margin: torch.Tensor
    _offset: torch.Tensor

    def adjust(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Take the margins off and scale."""
        if not self._has_margin:
            return self.scores(logits)
        offset = self._offset.to(logits).index_select(0, target)
        return offset + self.scale * logits

    def active_class_weight(self) -> torch.Tensor | None:
        """Class weights in force: none before the deferred epoch."""
        return super().active_class_weight() if self._weights_in_force else None

    def set_epoch(self, epoch: int) -> None:
        """Switch the class weights on at their epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch that begins, from 0.
        """
        self._weights_in_force = epoch >= self._first_weighted_epoch

    def training_stage(self, epoch: int) -> int:
        """Tell an epoch whose class weights were deferred from those before it.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.

        Returns
        -------
        stage : int
            1 where deferred class weights are in force, else 0.
        """
        return int(self._is_deferred and epoch >= self._first_weighted_epoch)

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Scale the logits; no margin at prediction.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
            The network's output.

        Returns
        -------
        scores : torch.Tensor of shape (n_samples, n_classes)
        """
        return self.scale * logits

    def _log_train_correction(self) -> torch.Tensor:
        if self._has_margin:
            return Criterion._log_train_correction(self)
        if not self._weights_in_force:
            return torch.zeros_like(self.class_weight)
        return self._log_weight_correction()


class LDAM(Loss):
    r"""Label-distribution-aware margin loss, with deferred re-weighting.

    Cross-entropy of :math:`s (z - m_y e_y)`: the true class's logit has to win by a margin
    :math:`m_c = m_{max} (n_{min} / n_c)^{1/4}`, widest for the rarest class.

    Parameters
    ----------
    max_margin : float, default=0.5
        Margin of the rarest class. The paper's margins :math:`C n_c^{-1/4}` are those of
        :math:`m_{max} = C n_{min}^{-1/4}`.
    scale : float, default=30.0
        Factor *s* of the logits. The classifiers predict softmax(*s z*), without margin.
    drw_start : float or None, default=None
        Deferred re-weighting: the class weights given to :meth:`build` stay equal until this
        share of `max_epochs` is over, in [0, 1]. The paper's LDAM-DRW is ``drw_start=0.8`` with
        ``class_weight="effective"``. None puts the weights in force from the start.
        The losses before and after can't be compared, so that skcyto's classifiers choose the
        best epoch among those with weights, and begin there to wait for an improvement.

    See Also
    --------
    VectorScaling : Margins added to and factors on the logits.

    Notes
    -----
    The loss was made for logits that are cosines, the last layer's weights and features
    normalised: on free logits a network escapes the margin by growing them, and *s* only
    multiplies the learning rate. skcyto's classifiers give it such a head.

    No exact way back to a prior exists unless the margins are zero.

    References
    ----------
    .. [1] Cao, Wei, Gaidon, Arechiga and Ma, "Learning Imbalanced Datasets with
       Label-Distribution-Aware Margin Loss", NeurIPS 2019, equations 12 and 13 and algorithm 1.

    Examples
    --------
    >>> from skcyto.losses import LDAM
    >>> LDAM().build([1600, 100]).margin.tolist()
    [0.25, 0.5]
    """

    name = "ldam"
    needs_cosine_head = True
    uses_class_counts = True

    def __init__(
        self,
        max_margin: float = 0.5,
        scale: float = 30.0,
        drw_start: float | None = None,
    ) -> None:
        self.max_margin = max_margin
        self.scale = scale
        self.drw_start = drw_start

    def _validate(self) -> None:
        check_number("max_margin", self.max_margin, 0)
        check_number("scale", self.scale, 0, include_low=False)
        if self.drw_start is not None:
            check_number("drw_start", self.drw_start, 0, 1)

    def make_criterion(
        self,
        class_counts: torch.Tensor,
        *,
        class_weight: ClassWeight,
        reduction: str,
        max_epochs: int | None,
    ) -> Criterion:
        """Make the criterion; see :meth:`Loss.make_criterion`."""
        first_weighted_epoch = 0.0
        if self.drw_start is not None:
            if max_epochs is None:
                raise ValueError(
                    f"drw_start={self.drw_start!r} is a share of the epochs: give max_epochs too"
                )
            if class_weight is None:
                warn(
                    f"LDAM(drw_start={self.drw_start!r}) defers class weights, and there are "
                    "none: set class_weight, for instance to 'effective'",
                    ImbalanceWarning,
                )
            first_weighted_epoch = self.drw_start * max_epochs
            if class_weight is not None and first_weighted_epoch > max_epochs - 1:
                warn(
                    f"LDAM(drw_start={self.drw_start!r}) defers class weights past the last of "
                    f"{max_epochs} epochs, so that they never count: lower drw_start or raise "
                    "max_epochs",
                    ImbalanceWarning,
                )
        return LDAMCriterion(
            class_counts,
            class_weight=class_weight,
            reduction=reduction,
            max_margin=self.max_margin,
            scale=self.scale,
            first_weighted_epoch=first_weighted_epoch,
        )
