"""Fit many ImbalancedMLPClassifier at once, together where that pays.

A search fits hundreds of networks so small that most of the time goes into calls. What has one
shape (:func:`make_stacks`) is trained as one; what is large, or stands alone, by its own ``fit``,
which is also where a network goes that a stack turns out not to be able to train.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skcyto.losses import get_loss
from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier
from skcyto.neural_network._mlp._prepared import layer_sizes, network_memory, training_memory
from skcyto.neural_network._stacked._training import StackedTraining
from skcyto.neural_network._training import OPTIMIZERS
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._devices._reservation import free_memory, reserve_memory

# Parameters of a stack on the CPU: what an epoch touches again and again stays near the core.
_CPU_PARAMETERS = 1 << 20
# Parameters of a network on the CPU from which on its products take longer than all calls.
_LARGE_NETWORK = 1 << 17
# Share of a GPU's free memory that one stack may fill.
_GPU_SHARE = 0.5


@dataclass
class StackedFit:
    """A classifier, which is fitted in place, and what its ``fit`` is given."""

    classifier: ImbalancedMLPClassifier
    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None


def why_not_stackable(classifier: Any) -> str | None:
    """Say why a classifier can't be trained in a stack; None where it can."""
    if type(classifier) is not ImbalancedMLPClassifier:
        return f"only ImbalancedMLPClassifier can be stacked, not {type(classifier).__name__}"
    if classifier.callbacks:
        return "callbacks listen to one training, not to many at once"
    if classifier.net_params:
        return f"net_params={sorted(classifier.net_params)} go to the skorch net of one training"
    if not isinstance(classifier.optimizer, str) or classifier.optimizer not in OPTIMIZERS:
        return f"optimizer={classifier.optimizer!r} is none of {sorted(OPTIMIZERS)}"
    return None


def make_stacks(fits: Sequence[StackedFit]) -> list[list[int]]:
    """Sort classifiers into stacks, lists of positions, that train together.

    Networks share a stack if their shapes, batch size and optimiser are the same. Large groups are
    cut: on the CPU so that a stack stays small enough to be quick, on a GPU so that it fits in
    memory. How does not depend on the number of processes.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, fit in enumerate(fits):
        groups.setdefault(_shape_of(fit), []).append(number)
    stacks = []
    for shape, members in groups.items():
        n_stacks = -(-len(members) // _largest_stack(shape, fits[members[0]]))
        # As equal as can be: a small remainder would take nearly as long as a full stack.
        edges = [len(members) * i // n_stacks for i in range(n_stacks + 1)]
        stacks += [members[a:b] for a, b in itertools.pairwise(edges)]
    return stacks


def train_stack(
    fits: Sequence[StackedFit],
) -> tuple[list[ImbalancedMLPClassifier], list[Exception | None]]:
    """Fit the classifiers of one stack.

    They come back too, for callers in another process, with what ``fit`` would have raised; None
    for those that are fitted now.
    """
    tables = {id(fit.X): _writable(fit.X) for fit in fits}
    fits = [replace(fit, X=tables[id(fit.X)]) for fit in fits]
    errors: list[Exception | None] = [None] * len(fits)
    alone, prepared = set(range(len(fits))), {}
    for number, fit in enumerate(fits if len(fits) > 1 else ()):
        try:
            fit.classifier._validate_params()
            data = (fit.X, fit.y, fit.sample_weight, fit.groups)
            prepared[number] = fit.classifier._prepare_fit(*data)
        except Exception as error:  # one that fails must not take the others with it
            errors[number] = error
        alone.remove(number)
    if prepared:
        starts = list(prepared.values())
        needed = training_memory(starts, fits[0].classifier.batch_size)
        with reserve_memory(starts[0].device, needed):
            training = StackedTraining([(i, fits[i].classifier, p) for i, p in prepared.items()])
            training.run()
        alone |= training.unfit
        for number, error in training.errors.items():
            errors[number] = error
    for number in alone:
        fit = fits[number]
        try:
            fit.classifier.fit(fit.X, fit.y, sample_weight=fit.sample_weight, groups=fit.groups)
        except Exception as error:
            errors[number] = error
    return [fit.classifier for fit in fits], errors


def _shape_of(fit: StackedFit) -> Hashable:
    """Return what networks of one stack have in common; None where the fit will fail anyway."""
    classifier, n_features = fit.classifier, np.shape(fit.X)[-1]
    try:
        hidden = layer_sizes(classifier.hidden_layer_sizes, n_features)
        widths = (n_features, *hidden, len(np.unique(np.asarray(fit.y))))
        with_cosines = classifier.cosine_head
        if with_cosines == "auto":
            with_cosines = get_loss(classifier.loss).needs_cosine_head
        names = ("activation", "batch_norm", "optimizer", "batch_size")
        common = (getattr(classifier, name) for name in names)
        device = resolve_device(classifier.device)
        shape = (widths, device, bool(with_cosines), bool(classifier.dropout), *common)
        hash(shape)
    except (ValueError, TypeError):
        return None
    return shape


def _largest_stack(shape: Any, fit: StackedFit) -> int:
    if shape is None:
        return 1
    widths, device, *_ = shape
    if device.type == "cpu":
        n_parameters = sum(a * b for a, b in itertools.pairwise(widths))
        return 1 if n_parameters > _LARGE_NETWORK else max(1, _CPU_PARAMETERS // n_parameters)
    own = network_memory(widths, len(np.asarray(fit.y)), fit.classifier.batch_size)
    return max(1, int(_GPU_SHARE * free_memory(device) / own))


def _writable(table: Any) -> Any:
    """Copy what joblib has handed over as a read-only map, which torch warns of."""
    is_locked = isinstance(table, np.ndarray) and not table.flags.writeable
    return np.array(table) if is_locked else table
