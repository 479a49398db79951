"""Fit many ImbalancedMLPClassifier at once, as one batched network where they allow it."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from skcyto.losses import Loss, get_loss
from skcyto.neural_network._imbalanced_mlp_classifier import ImbalancedMLPClassifier
from skcyto.neural_network._mlp_fit import PreparedFit, prepare_fit
from skcyto.neural_network._stacked_losses import family_of
from skcyto.neural_network._stacked_training import StackedTraining
from skcyto.neural_network._training import OPTIMIZERS
from skcyto.utils._device import free_memory

# Parameters of a stack on the CPU: what an epoch touches again and again stays near the core.
_CPU_PARAMETERS = 1 << 20
# Share of a GPU's free memory that one stack may fill.
_GPU_SHARE = 0.5


@dataclass
class StackedFit:
    """A classifier and what its ``fit`` was given.

    Parameters
    ----------
    classifier : ImbalancedMLPClassifier
        Fitted in place.
    X, y : array-like
        Training data; fits with the very same array store it once.
    sample_weight, groups : array-like or None
        As of ``fit``.
    """

    classifier: ImbalancedMLPClassifier
    X: ArrayLike
    y: ArrayLike
    sample_weight: ArrayLike | None = None
    groups: ArrayLike | None = None


def why_not_stackable(classifier: Any) -> str | None:
    """Say why a classifier can't be trained in a stack.

    Parameters
    ----------
    classifier : estimator
        With its parameters set.

    Returns
    -------
    reason : str or None
        None where it can.
    """
    if type(classifier) is not ImbalancedMLPClassifier:
        return f"only ImbalancedMLPClassifier can be stacked, not {type(classifier).__name__}"
    if classifier.callbacks:
        return "callbacks listen to one training, not to many at once"
    if classifier.net_params:
        return f"net_params={sorted(classifier.net_params)} go to the skorch net of one training"
    if not isinstance(classifier.optimizer, str) or classifier.optimizer not in OPTIMIZERS:
        return f"optimizer={classifier.optimizer!r} is none of {sorted(OPTIMIZERS)}"
    loss = classifier.loss
    if isinstance(loss, str | Loss):
        with warnings.catch_warnings():
            # Of class weights that are not given here.
            warnings.simplefilter("ignore")
            try:
                criterion = get_loss(loss).build([1, 1], max_epochs=1)
            except ValueError:
                return None  # the fit itself says what is wrong
        if family_of(criterion) is None:
            return f"the loss {loss!r} has no stacked form"
    return None


def prepare_stacked(fits: Sequence[StackedFit]) -> list[PreparedFit | Exception]:
    """Do for each classifier what its ``fit`` does before the training.

    Parameters
    ----------
    fits : list of StackedFit
        The classifiers and their data.

    Returns
    -------
    prepared : list of PreparedFit or Exception
        An exception is what ``fit`` would have raised.
    """
    prepared: list[PreparedFit | Exception] = []
    for fit in fits:
        try:
            fit.classifier._validate_params()
            prepared.append(
                prepare_fit(fit.classifier, fit.X, fit.y, fit.sample_weight, fit.groups)
            )
        except Exception as error:  # one that fails must not take the others with it
            prepared.append(error)
    return prepared


def make_stacks(
    fits: Sequence[StackedFit], prepared: Sequence[PreparedFit | Exception]
) -> list[list[int]]:
    """Sort networks into stacks that train together.

    Networks share a stack if their shapes, batch size, optimiser and family of losses are the
    same. Large groups are cut: on the CPU so that a stack stays small enough to be quick, on a
    GPU so that it fits in memory. How does not depend on the number of processes.

    Parameters
    ----------
    fits : list of StackedFit
        The classifiers.
    prepared : list of PreparedFit or Exception
        Of them.

    Returns
    -------
    stacks : list of list of int
        Positions in `fits`; those with an exception are in none.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, (fit, start) in enumerate(zip(fits, prepared, strict=True)):
        if isinstance(start, PreparedFit):
            groups.setdefault(_shape_of(fit.classifier, start), []).append(number)
    stacks = []
    for members in groups.values():
        first = prepared[members[0]]
        assert isinstance(first, PreparedFit)
        size = _largest_stack(fits[members[0]].classifier, first)
        n_stacks = -(-len(members) // size)
        # As equal as can be: a small remainder would take nearly as long as a full stack.
        edges = [len(members) * i // n_stacks for i in range(n_stacks + 1)]
        stacks += [members[a:b] for a, b in itertools.pairwise(edges)]
    return stacks


def train_stack(
    fits: Sequence[StackedFit], prepared: Sequence[PreparedFit]
) -> list[Exception | None]:
    """Train the networks of one stack.

    Parameters
    ----------
    fits : list of StackedFit
        The classifiers, which are fitted in place.
    prepared : list of PreparedFit
        Of them.

    Returns
    -------
    errors : list of Exception or None
        None for those that are fitted now.
    """
    training = StackedTraining(
        [(fit.classifier, start) for fit, start in zip(fits, prepared, strict=True)]
    )
    errors = training.run()
    return [errors.get(number) for number in range(len(fits))]


def fit_stacked(fits: Sequence[StackedFit]) -> list[Exception | None]:
    """Fit classifiers, together where their networks have the same shape.

    Parameters
    ----------
    fits : list of StackedFit
        What to fit, in place.

    Returns
    -------
    errors : list of Exception or None
        What ``fit`` would have raised; None for those that are fitted now.

    Raises
    ------
    ValueError
        If one of them can't be stacked; the message says why.
    """
    for fit in fits:
        reason = why_not_stackable(fit.classifier)
        if reason is not None:
            raise ValueError(f"{fit.classifier!r} can't be trained in a stack: {reason}")
    prepared = prepare_stacked(fits)
    errors = [start if isinstance(start, Exception) else None for start in prepared]
    for stack in make_stacks(fits, prepared):
        starts = [start for i in stack if isinstance(start := prepared[i], PreparedFit)]
        for number, error in zip(stack, train_stack([fits[i] for i in stack], starts), strict=True):
            errors[number] = error
    return errors


def _shape_of(classifier: ImbalancedMLPClassifier, prepared: PreparedFit) -> Hashable:
    return (
        classifier.n_features_in_,
        tuple(prepared.layer_sizes),
        len(classifier.classes_),
        prepared.cosine_head,
        classifier.activation,
        classifier.batch_norm,
        classifier.optimizer,
        classifier.batch_size,
        family_of(prepared.criterion),
        str(prepared.device),
    )


def _largest_stack(classifier: ImbalancedMLPClassifier, prepared: PreparedFit) -> int:
    widths = [classifier.n_features_in_, *prepared.layer_sizes, len(classifier.classes_)]
    n_parameters = sum(a * b for a, b in itertools.pairwise(widths))
    if prepared.device.type == "cpu":
        return max(1, _CPU_PARAMETERS // n_parameters)
    # Parameters, two moments, gradient, best epoch and a copy on the way; rows of a batch.
    numbers = 6 * n_parameters + 6 * classifier.batch_size * sum(widths)
    rows = 3 * 8 * len(prepared.train)
    free = free_memory(prepared.device)
    return max(1, int(_GPU_SHARE * free / (4 * numbers + rows)))
