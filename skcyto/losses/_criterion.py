"""What a loss builds: a torch module called with logits and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch.nn import functional

from skcyto.losses._weights import ClassWeight, check_class_counts, class_weight_from_counts

REDUCTIONS = ("count", "weight_sum")


class Criterion(torch.nn.Module):
    r"""Loss of a batch, ready for training: what :meth:`Loss.build` gives back.

    The value is the mean over rows of what :meth:`sample_losses` says, each row *i* weighted by
    :math:`\omega_i = w_{y_i} s_i`, class weight times sample weight. A criterion of your own
    overrides :meth:`sample_losses` (one value a row) or :meth:`compute` (anything else).

    Parameters
    ----------
    class_counts : array-like of shape (n_classes,)
        Rows, or sums of sample weights, of each class of the training split.
    class_weight : {"balanced", "max_ratio", "effective"}, sequence of float or None, default=None
        As in :func:`compute_class_weight`.
    reduction : {"weight_sum", "count"}, default="weight_sum"
        Divide the weighted sum by the sum of the weights :math:`\sum\omega_i`, as torch does, or
        by the number of rows.

    Attributes
    ----------
    class_counts : torch.Tensor of shape (n_classes,), dtype float64
        Buffer. Zeros are replaced, see :func:`compute_class_weight`.
    class_weight : torch.Tensor of shape (n_classes,), dtype float64
        Buffer; ones where there are no class weights.
    reduction : str
        As given.

    See Also
    --------
    Loss : The parameter object that builds a criterion.

    Notes
    -----
    Buffers follow the module to its device but stay in double precision whatever dtype the model
    has (single on devices without doubles). Half-precision logits are computed in float32.

    Examples
    --------
    >>> import torch
    >>> from skcyto.losses import Focal
    >>> criterion = Focal(gamma=2).build([90, 10], class_weight="balanced")
    >>> logits = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    >>> round(criterion(logits, torch.tensor([0, 1])).item(), 4)
    0.6319
    """

    class_counts: torch.Tensor
    class_weight: torch.Tensor

    #: Names of the numbers that may differ between criteria which are called as one by
    #: :func:`torch.func.vmap`: formulas take tensors in their place. None where no formula of the
    #: class stands such a call, which is what a subclass has that says nothing else.
    stackable_numbers: ClassVar[tuple[str, ...] | None] = ()

    #: Set to False where a row's weight has no meaning; sample weights are then refused.
    supports_sample_weight: bool = True

    #: Whether the value is a weighted mean of rows, so that a row can be of several classes. One of
    #: your own that overrides :meth:`compute` or :meth:`reduce` sets it to True where it still is.
    takes_soft_targets: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"compute", "reduce"} & vars(cls).keys() and "takes_soft_targets" not in vars(cls):
            cls.takes_soft_targets = False

    def __init__(
        self,
        class_counts: Any,
        *,
        class_weight: ClassWeight = None,
        reduction: str = "weight_sum",
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction!r} must be one of {list(REDUCTIONS)}")
        counts = check_class_counts(class_counts)
        weight = class_weight_from_counts(class_weight, counts)
        self.register_buffer("class_counts", counts)
        self.register_buffer("class_weight", weight)
        self.reduction = reduction
        self.n_classes = len(counts)
        self._is_weighted = class_weight is not None
        self._has_zero_weight = bool((weight == 0).any())

    def forward(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
            The network's output, before any softmax.
        target : torch.Tensor of shape (n_samples,), integer dtype
            Positions of the true classes, from 0 to n_classes - 1.
        sample_weight : torch.Tensor of shape (n_samples,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        loss : torch.Tensor, scalar
            Zero, with a graph, where the batch is empty or all weights are zero.

        Raises
        ------
        ValueError
            If shapes or dtypes don't fit, or sample weights are given to a loss for which they
            have no meaning.
        """
        if logits.ndim != 2 or logits.shape[1] != self.n_classes:
            raise ValueError(
                f"logits must have shape (n_samples, {self.n_classes}), got {tuple(logits.shape)}"
            )
        if target.shape != logits.shape[:1]:
            raise ValueError(
                f"target must have shape ({logits.shape[0]},), one class position a row of "
                f"logits, got {tuple(target.shape)}"
            )
        if target.dtype != torch.int64:
            if target.is_floating_point() or target.dtype == torch.bool:
                raise ValueError(f"target must hold integer class positions, got {target.dtype}")
            target = target.long()
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if sample_weight is not None:
            if not self.supports_sample_weight:
                raise ValueError(
                    f"{type(self).__name__} takes no sample_weight: {self._no_sample_weight}"
                )
            if sample_weight.shape != target.shape:
                raise ValueError(
                    f"sample_weight must have shape {tuple(target.shape)}, "
                    f"got {tuple(sample_weight.shape)}"
                )
            sample_weight = sample_weight.to(logits)
        return self.compute(logits, target, sample_weight)

    def soft_loss(
        self,
        logits: torch.Tensor,
        shares: torch.Tensor,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the loss of rows that are of several classes each.

        A row counts once for each class, weighted by the share of that class: of the cross-entropy
        this is the one against the shares.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
            The network's output, before any softmax.
        shares : torch.Tensor of shape (n_samples, n_classes)
            Of the classes; rows sum to one.
        sample_weight : torch.Tensor of shape (n_samples,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        loss : torch.Tensor, scalar

        Raises
        ------
        ValueError
            If the loss is no weighted mean of rows.
        """
        if not self.takes_soft_targets:
            raise ValueError(f"{type(self).__name__} has no value for rows of several classes")
        target, weight = spread(shares, sample_weight)
        loss = self(logits.repeat_interleave(self.n_classes, dim=0), target, weight)
        return loss * self.n_classes if self.reduction == "count" else loss

    def compute(
        self, logits: torch.Tensor, target: torch.Tensor, sample_weight: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the loss from arguments that :meth:`forward` has checked.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes), dtype float32 or float64
            The network's output.
        target : torch.Tensor of shape (n_samples,), dtype int64
            Positions of the true classes.
        sample_weight : torch.Tensor of shape (n_samples,) or None
            Weights of the rows, in the dtype of the logits.

        Returns
        -------
        loss : torch.Tensor, scalar
        """
        return self.reduce(self.sample_losses(logits, target), target, sample_weight)

    def sample_losses(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the loss of each row before any weight: cross-entropy unless overridden.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
            The network's output.
        target : torch.Tensor of shape (n_samples,), dtype int64
            Positions of the true classes.

        Returns
        -------
        losses : torch.Tensor of shape (n_samples,)
        """
        return functional.cross_entropy(logits, target, reduction="none")

    def reduce(
        self, losses: torch.Tensor, target: torch.Tensor, sample_weight: torch.Tensor | None
    ) -> torch.Tensor:
        """Turn the rows' losses into their weighted mean.

        Parameters
        ----------
        losses : torch.Tensor of shape (n_samples,)
            Loss of each row.
        target : torch.Tensor of shape (n_samples,), dtype int64
            Positions of the true classes.
        sample_weight : torch.Tensor of shape (n_samples,) or None
            Weights of the rows.

        Returns
        -------
        loss : torch.Tensor, scalar
        """
        weight = self.row_weight(target, sample_weight, losses)
        if weight is None:
            # A product with a constant: the way back through `mean` takes longer.
            n_samples = max(len(losses), 1)
            return torch.dot(losses, losses.new_full((len(losses),), 1 / n_samples))
        return torch.dot(weight, losses) / self.divisor(weight, len(losses))

    def row_weight(
        self, target: torch.Tensor, sample_weight: torch.Tensor | None, like: torch.Tensor
    ) -> torch.Tensor | None:
        """Multiply class weight and sample weight of each row.

        Parameters
        ----------
        target : torch.Tensor of shape (n_samples,), dtype int64
            Positions of the true classes.
        sample_weight : torch.Tensor of shape (n_samples,) or None
            Weights of the rows.
        like : torch.Tensor
            Gives the dtype.

        Returns
        -------
        weight : torch.Tensor of shape (n_samples,) or None
            None stands for ones.
        """
        if not self._is_weighted:
            return sample_weight
        class_weight = self.class_weight.to(like).index_select(0, target)
        return class_weight if sample_weight is None else class_weight * sample_weight

    def divisor(self, weight: torch.Tensor, n_samples: int) -> torch.Tensor | int:
        """Choose what a weighted sum is divided by, as `reduction` says.

        Parameters
        ----------
        weight : torch.Tensor of shape (n_samples,)
            Weights of the rows.
        n_samples : int
            Number of rows.

        Returns
        -------
        divisor : torch.Tensor or int
            One where it would be zero.
        """
        if self.reduction == "count":
            return max(n_samples, 1)
        weight_sum = weight.sum()
        return weight_sum + (weight_sum == 0)

    @property
    def is_stackable(self) -> bool:
        """Whether criteria of this kind are called as one where many networks train together."""
        return vars(type(self)).get("stackable_numbers") is not None

    def set_epoch(self, epoch: int) -> None:
        """Tell the criterion which epoch begins; only deferred re-weighting listens.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        """

    def training_stage(self, epoch: int) -> int:
        """Tell which stage of the training an epoch belongs to: 0 unless overridden.

        Losses of two epochs can be compared if they are of one stage. Where another begins,
        skcyto's classifiers look for the best epoch anew. A criterion of your own whose values
        change their meaning at some epoch, as by :meth:`set_epoch`, says so here.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0; any, whatever epoch is running.

        Returns
        -------
        stage : int
            Never lower than that of an epoch before. 1 for :class:`LDAM` once its deferred class
            weights are in force.
        """
        return 0

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Turn logits into what is softmaxed at prediction.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
            The network's output.

        Returns
        -------
        scores : torch.Tensor of shape (n_samples, n_classes)
            The logits themselves, for most losses.
        """
        return logits

    def log_prior_correction(self, prior: Any = "train") -> torch.Tensor:
        r"""Term to add to the scores so that their softmax stands under a given prior.

        Parameters
        ----------
        prior : "train" or array-like of shape (n_classes,), default="train"
            "train" for the class shares of the training split, or other positive shares (of any
            scale), for instance those where the model will be used.

        Returns
        -------
        correction : torch.Tensor of shape (n_classes,), dtype float64

        Raises
        ------
        ValueError
            If the loss leaves no exact correction, or the prior doesn't fit.

        Notes
        -----
        A model trained with class weights *w* approaches :math:`w_c P(c|x)`, renormalised, and
        one trained with :math:`\tau\log\pi` added approaches :math:`P(c|x) \pi_c^{-\tau}`: the way
        back to the training prior is :math:`\tau\log\pi_c - \log w_c`, and from there to another
        prior :math:`\rho` it is :math:`\log\rho_c - \log\pi_c`.
        """
        correction = self._log_train_correction()
        if isinstance(prior, str):
            if prior != "train":
                raise ValueError(f"prior={prior!r} must be 'train' or one number a class")
            return correction
        target_prior = torch.as_tensor(prior, dtype=torch.float64, device="cpu")
        if target_prior.shape != (self.n_classes,):
            raise ValueError(
                f"prior has shape {tuple(target_prior.shape)} for {self.n_classes} classes"
            )
        if not bool(torch.isfinite(target_prior).all()) or bool((target_prior <= 0).any()):
            raise ValueError(f"prior must be positive and finite, got {target_prior.tolist()}")
        target_prior = (target_prior / target_prior.sum()).to(correction)
        return correction + target_prior.log() - self._log_prior()

    def _log_train_correction(self) -> torch.Tensor:
        """Way back to the training prior; losses that have one override this."""
        raise ValueError(
            f"{type(self).__name__} leaves no exact way back to a prior: "
            f"{self._no_prior_correction}. Calibrate the fitted classifier with "
            "sklearn.calibration.CalibratedClassifierCV instead"
        )

    def _log_weight_correction(self) -> torch.Tensor:
        if self._has_zero_weight:
            raise ValueError(
                "a class weight of zero leaves no way back to a prior: the model never saw that "
                "class count"
            )
        return -self.class_weight.log()

    def _log_prior(self) -> torch.Tensor:
        return (self.class_counts / self.class_counts.sum()).log()

    #: Why; the end of the sentences of the two errors above.
    _no_prior_correction = "its minimum is not the class probability times a factor a class"
    _no_sample_weight = "its value is no weighted mean of rows"

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> torch.nn.Module:
        # Counts, weights and group shares stay in double precision when the model is cast, and
        # become single only on Apple's MPS, which has no doubles.
        def move(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.dtype != torch.float64:
                return fn(tensor)
            device = fn(torch.empty(0, device=tensor.device)).device
            return tensor.to(device, torch.float32 if device.type == "mps" else torch.float64)

        return super()._apply(move, recurse)


def spread(
    shares: torch.Tensor, sample_weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn rows of several classes into one row a class, and shares into their weights.

    Parameters
    ----------
    shares : torch.Tensor of shape (n_samples, n_classes)
        Of the classes.
    sample_weight : torch.Tensor of shape (n_samples,) or None
        Weights of the rows.

    Returns
    -------
    target : torch.Tensor of shape (n_samples * n_classes,)
    weight : torch.Tensor of shape (n_samples * n_classes,)
    """
    target = torch.arange(shares.shape[1], device=shares.device).repeat(len(shares))
    weight = shares if sample_weight is None else shares * sample_weight[:, None]
    return target, weight.flatten()


def one_hot(target: torch.Tensor, n_classes: int, like: torch.Tensor) -> torch.Tensor:
    """Mark each row's class by a one, in the dtype of `like`."""
    return (target.unsqueeze(1) == torch.arange(n_classes, device=target.device)).to(like)


def sum_by_group(values: torch.Tensor, group: torch.Tensor, n_groups: int) -> torch.Tensor:
    """Sum the values of each group of rows."""
    if values.device.type == "cpu":
        return values.new_zeros(n_groups).index_add_(0, group, values)
    # A scattered sum adds in any order on a GPU; a product with a mask gives the same bits always.
    return values @ one_hot(group, n_groups, values)
