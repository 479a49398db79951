"""Fit a loss to the class counts of the rows that train, and say where settings clash."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skcyto.exceptions import ImbalanceWarning, MissingClassWarning
from skcyto.losses import BalancedSoftmax, Criterion, LogitAdjusted, Loss, VectorScaling
from skcyto.utils._warnings import warn

CLASS_WEIGHTS = ("balanced", "max_ratio", "effective")


def class_weight_in_order(
    class_weight: str | Mapping[Any, float] | None, classes: NDArray
) -> str | list[float] | None:
    """Put class weights that are keyed by label into the order of the classes.

    Parameters
    ----------
    class_weight : str, mapping or None
        As the user gave it; a label that the mapping leaves out weighs 1.
    classes : ndarray of shape (n_classes,)
        Labels in the order of the logits.

    Returns
    -------
    class_weight : str, list of float or None

    Raises
    ------
    ValueError
        If a weight is negative or no number, or if none of the labels is known.
    """
    if class_weight is None or isinstance(class_weight, str):
        return class_weight
    labels = classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    if len(unknown) == len(class_weight):
        raise ValueError(
            f"class_weight has no weight for any of the classes {labels}: its keys are "
            f"{list(class_weight)}"
        )
    if unknown:
        warn(
            f"class_weight names {unknown}, which is not among the classes {labels} of the data "
            "given to fit",
            MissingClassWarning,
        )
    weights = [float(class_weight.get(label, 1.0)) for label in labels]
    bad = [label for label, w in zip(labels, weights, strict=True) if not 0 <= w < np.inf]
    if bad:
        raise ValueError(f"class_weight of {bad} must be a finite number of at least 0")
    return weights


def class_counts(
    y: NDArray[np.intp], n_classes: int, sample_weight: NDArray | None
) -> NDArray[np.float64]:
    """Sum the cases, or the sample weights, of each class.

    Parameters
    ----------
    y : ndarray of int, shape (n_samples,)
        Encoded classes.
    n_classes : int
        Number of classes.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows.

    Returns
    -------
    counts : ndarray of float, shape (n_classes,)
    """
    return np.bincount(y, weights=sample_weight, minlength=n_classes).astype(np.float64)


class CriterionSettings(Protocol):
    """What a classifier's parameters say of its criterion."""

    @property
    def class_weight(self) -> str | Mapping[Any, float] | None: ...
    @property
    def reduction(self) -> str: ...
    @property
    def max_epochs(self) -> int: ...
    @property
    def sampler(self) -> str | None: ...
    @property
    def batch_size(self) -> int: ...


def build_criterion(
    loss: Loss, counts: ArrayLike, classes: NDArray, n_rows: int, settings: CriterionSettings
) -> Criterion:
    """Build the criterion of a fit, warning of settings that work against each other.

    Parameters
    ----------
    loss : Loss
        Parameter object.
    counts : array-like of shape (n_classes,)
        Class counts of the rows that train.
    classes : ndarray of shape (n_classes,)
        Labels.
    n_rows : int
        Rows that train.
    settings : CriterionSettings
        Parameters of the classifier.

    Returns
    -------
    criterion : Criterion
    """
    counts, sampler = np.asarray(counts, dtype=np.float64), settings.sampler
    class_weight = class_weight_in_order(settings.class_weight, classes)
    criterion = loss.build(
        counts,
        class_weight=class_weight,
        reduction=settings.reduction,
        max_epochs=settings.max_epochs,
    )
    # LDAM with class weights is its authors' own recipe (deferred re-weighting), and the class
    # weights of ClassBalanced are its own: neither counts twice.
    by_loss = []
    if class_weight is not None:
        by_loss.append("class_weight")
    if loss.uses_class_counts:
        by_loss.append(f"the loss {loss.name!r}, which is fitted to the class counts")
    shifted_twice = class_weight is not None and isinstance(
        loss, BalancedSoftmax | LogitAdjusted | VectorScaling
    )
    # Group losses are meant to be fed by the grouped sampler.
    drawn = sampler == "balanced" or (
        sampler == "grouped" and not (loss.needs_every_class_in_batch and class_weight is None)
    )
    if shifted_twice or (drawn and by_loss):
        corrections = ([f"sampler={sampler!r}"] if drawn else []) + by_loss
        warn(
            f"the imbalance is corrected {len(corrections)} times over: by "
            f"{' and by '.join(corrections)}. Keep one of them",
            ImbalanceWarning,
        )
    if loss.needs_every_class_in_batch and sampler is None:
        present, batch_size = counts[counts > 0], min(settings.batch_size, n_rows)
        expected = batch_size * present.min() / present.sum()
        if expected < 2:
            rarest = classes[counts == present.min()].tolist()[0]
            warn(
                f"a batch of {batch_size} holds {expected:.2g} cases of class {rarest!r} on "
                f"average, too few for the loss {loss.name!r}, which compares the classes within "
                "a batch: use sampler='stratified' (or 'grouped'), or a larger batch_size",
                ImbalanceWarning,
            )
    return criterion


def rebuild_criterion(state: Mapping[str, Any]) -> Criterion:
    """Build the criterion of a fitted classifier once more.

    Parameters
    ----------
    state : mapping
        Parameters and attributes of an ImbalancedMLPClassifier or EVA02Classifier.

    Returns
    -------
    criterion : Criterion
    """
    with warnings.catch_warnings():
        # They were given when it was fitted.
        warnings.simplefilter("ignore", ImbalanceWarning)
        warnings.simplefilter("ignore", MissingClassWarning)
        criterion = build_criterion(
            state["loss_"],
            state["class_counts_"],
            state["classes_"],
            n_rows=state["batch_size"],
            settings=SimpleNamespace(**state),
        )
    criterion.set_epoch(state["n_iter_"] - 1)
    return criterion
