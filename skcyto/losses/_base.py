"""Base class of the losses: parameter objects that build a criterion."""

from __future__ import annotations

import inspect
from abc import ABC
from numbers import Real
from typing import Any, ClassVar

import torch

from skcyto.losses._criterion import REDUCTIONS, Criterion
from skcyto.losses._weights import ClassWeight, check_class_counts


class Loss(ABC):
    """Parameters of a loss; :meth:`build` makes the criterion for a training split.

    A loss is to a network what a kernel is to a Gaussian process in scikit-learn: an object that
    holds parameters and nothing learnt. ``clone``, ``get_params`` and ``set_params`` work as on
    an estimator, so an estimator with a parameter ``loss`` can be searched over ``loss`` and over
    ``loss__gamma``. Losses of the same class with equal parameters are equal and hash equally:
    don't change one that is a key of a dict.

    To write a loss of your own, give the class a `name`, let ``__init__`` assign its parameters,
    check them in `_validate` and name the :class:`Criterion` that takes them as `criterion_class`,
    or return one from :meth:`make_criterion`. If its values change their meaning during the
    training, override :meth:`Criterion.training_stage`.

    Attributes
    ----------
    name : str
        Short name, as in ``get_loss(name)``.
    criterion_class : type or None
        Class of the criterion, called with the class counts, `class_weight`, `reduction` and the
        parameters of the loss.
    needs_cosine_head : bool
        The loss expects logits that are cosines: weights and features of the last layer
        normalised.
    uses_class_counts : bool
        The loss itself corrects for the class counts, so that a balancing sampler on top of it
        corrects twice.
    needs_every_class_in_batch : bool
        The loss compares classes within a batch and is noisy where a batch lacks one.
    supports_sample_weight : bool
        The criterion takes sample weights; others raise ValueError.
    default_class_weight : str or None
        Class weight where the caller of :meth:`build` gives None.

    See Also
    --------
    get_loss : Look a loss up by name.
    Criterion : What :meth:`build` gives back.

    Examples
    --------
    A loss that softens the logits before the cross-entropy:

    >>> import torch
    >>> from skcyto.losses import Criterion, Loss
    >>> class TemperedCriterion(Criterion):
    ...     def __init__(self, class_counts, temperature, **kwargs):
    ...         super().__init__(class_counts, **kwargs)
    ...         self.temperature = temperature
    ...
    ...     def sample_losses(self, logits, target):
    ...         return super().sample_losses(logits / self.temperature, target)
    >>> class Tempered(Loss):
    ...     name = "tempered"
    ...     criterion_class = TemperedCriterion
    ...
    ...     def __init__(self, temperature=1.0):
    ...         self.temperature = temperature
    >>> loss = Tempered(temperature=2.0)
    >>> loss
    Tempered(temperature=2.0)
    >>> criterion = loss.build([90, 10], class_weight="balanced")
    >>> round(criterion(torch.tensor([[2.0, 0.0]]), torch.tensor([1])).item(), 4)
    1.3133
    """

    name: ClassVar[str]
    criterion_class: ClassVar[type[Criterion] | None] = None
    needs_cosine_head: ClassVar[bool] = False
    uses_class_counts: ClassVar[bool] = False
    needs_every_class_in_batch: ClassVar[bool] = False
    default_class_weight: ClassVar[str | None] = None

    @property
    def supports_sample_weight(self) -> bool:
        """Whether the criterion takes sample weights."""
        return True

    def build(
        self,
        class_counts: Any,
        *,
        class_weight: ClassWeight = None,
        reduction: str = "weight_sum",
        max_epochs: int | None = None,
    ) -> Criterion:
        r"""Make the criterion for a training split.

        Parameters
        ----------
        class_counts : array-like of shape (n_classes,)
            Rows, or sums of sample weights, of each class of the training split: never of rows
            that are scored. A zero counts as one.
        class_weight : str, sequence of float or None, default=None
            "balanced", "max_ratio", "effective", or weights of the classes, in their order; see
            :func:`compute_class_weight`. None takes the loss's own default, which is no weights
            but for :class:`WeightedCrossEntropy` and :class:`ClassBalanced`.
        reduction : {"weight_sum", "count"}, default="weight_sum"
            Divide the weighted sum of a batch by the sum of its weights, as torch does, or by
            its number of rows. The second is unbiased in small batches, where the first gives a
            batch without a minority case as large a step as one with.
        max_epochs : int or None, default=None
            Length of the training, for deferred re-weighting.

        Returns
        -------
        criterion : Criterion
            A :class:`torch.nn.Module`, called as
            ``criterion(logits, target, sample_weight=None)``.

        Raises
        ------
        ValueError
            If a parameter of the loss or an argument is out of range.

        Warns
        -----
        MissingClassWarning
            If a class has no case.
        """
        self._validate()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction!r} must be one of {list(REDUCTIONS)}")
        if class_weight is None:
            class_weight = self.default_class_weight
        return self.make_criterion(
            check_class_counts(class_counts),
            class_weight=class_weight,
            reduction=reduction,
            max_epochs=max_epochs,
        )

    def make_criterion(
        self,
        class_counts: torch.Tensor,
        *,
        class_weight: ClassWeight,
        reduction: str,
        max_epochs: int | None,
    ) -> Criterion:
        """Make the criterion from arguments that :meth:`build` has checked.

        That is one of `criterion_class`, given all parameters of the loss, unless overridden.

        Parameters
        ----------
        class_counts : torch.Tensor of shape (n_classes,), dtype float64
            Positive counts.
        class_weight : str, sequence of float or None
            As in :meth:`build`.
        reduction : {"weight_sum", "count"}
            As in :meth:`build`.
        max_epochs : int or None
            As in :meth:`build`.

        Returns
        -------
        criterion : Criterion
        """
        if self.criterion_class is None:
            raise NotImplementedError(f"{type(self).__name__} has no criterion_class")
        return self.criterion_class(
            class_counts, class_weight=class_weight, reduction=reduction, **self.get_params()
        )

    def _validate(self) -> None:  # noqa: B027
        """Check the parameters; raise ValueError where one is out of range."""

    @classmethod
    def _param_defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters.values()
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {p.name: p.default for p in parameters if p.name != "self" and p.kind in named}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, as on a scikit-learn estimator.

        Parameters
        ----------
        deep : bool, default=True
            Kept for scikit-learn; a loss has no nested parameters.

        Returns
        -------
        params : dict
            Names and values.
        """
        return {name: getattr(self, name) for name in sorted(self._param_defaults())}

    def set_params(self, **params: Any) -> Loss:
        """Set parameters by name, as on a scikit-learn estimator.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : Loss

        Raises
        ------
        ValueError
            If the loss has no parameter of that name.
        """
        valid = self._param_defaults()
        for name, value in params.items():
            if name not in valid:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {sorted(valid)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = (
            f"{name}={getattr(self, name)!r}"
            for name, default in self._param_defaults().items()
            if getattr(self, name) is not default and getattr(self, name) != default
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        assert isinstance(other, Loss)
        return self.get_params() == other.get_params()

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.get_params().items())))


def check_number(
    name: str,
    value: Any,
    low: float,
    high: float = float("inf"),
    *,
    include_low: bool = True,
    include_high: bool = True,
) -> None:
    """Raise ValueError unless a parameter is a finite number within bounds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be a number")
    number = float(value)
    above = number >= low if include_low else number > low
    below = number <= high if include_high else number < high
    if above and below and abs(number) < float("inf"):
        return
    if high == float("inf"):
        wanted = f"be a finite number {'of at least' if include_low else 'above'} {low}"
    else:
        left, right = "[" if include_low else "(", "]" if include_high else ")"
        wanted = f"lie in {left}{low}, {high}{right}"
    raise ValueError(f"{name}={value!r} must {wanted}")
