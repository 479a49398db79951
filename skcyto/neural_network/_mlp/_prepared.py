"""What a fit of ImbalancedMLPClassifier does before its network trains.

Apart from the training itself, so that one network and many that train together start alike.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    validate_data,
)

from skcyto.exceptions import ImbalanceWarning
from skcyto.losses import Criterion, get_loss
from skcyto.neural_network._imbalance import (
    build_criterion,
    class_counts,
    class_weight_in_order,
)
from skcyto.neural_network._inner_split import inner_split
from skcyto.neural_network._modules import MLPModule
from skcyto.neural_network._neural_classifier import check_prior
from skcyto.neural_network._row_checks import check_groups, check_labels
from skcyto.neural_network._samplers import draws_per_row, make_batch_sampler, validation_weight
from skcyto.neural_network._training import (
    ShuffledBatches,
    TensorData,
    TrainingNet,
    engine_callbacks,
    optimizer_settings,
)
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._random import draw_seed
from skcyto.utils._validation import plain_vector
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier


#: What ImbalancedMLPClassifier sets of its skorch net, and by which parameter.
_OWN_NET_PARAMS = {
    "module": "hidden_layer_sizes, activation, batch_norm, dropout or cosine_head",
    "criterion": "loss",
    "optimizer": "optimizer",
    "optimizer__weight_decay": "weight_decay",
    "optimizer__lr": "learning_rate",
    "lr": "learning_rate",
    "max_epochs": "max_epochs",
    "batch_size": "batch_size",
    "train_batches": "sampler or batch_size",
    "iterator_train": "sampler or batch_size",
    "iterator_valid": "batch_size",
    "train_split": "validation_fraction",
    "callbacks": "callbacks",
    "device": "device",
    "verbose": "verbose",
}


@dataclass
class PreparedFit:
    """Everything that a training starts from.

    Parameters
    ----------
    data : TensorData
        Rows that take part, on the CPU.
    train, valid : ndarray of int
        Those that train and those that choose the best epoch.
    valid_weight : ndarray of shape (n_valid,) or None
        Weights of the latter.
    criterion : Criterion
        Loss, fitted to the rows that train.
    layer_sizes : list of int
        Widths of the hidden layers.
    cosine_head : bool
        Whether the logits are cosines.
    net_seed, batch_seed : int
        Of initial weights and dropout, and of the batches.
    device : torch.device
        Where to train.
    """

    data: TensorData
    train: NDArray[np.intp]
    valid: NDArray[np.intp]
    valid_weight: NDArray | None
    criterion: Criterion
    layer_sizes: list[int]
    cosine_head: bool
    net_seed: int
    batch_seed: int
    device: torch.device

    def splits(self) -> tuple[TensorData, TensorData | None]:
        """Copy training and validation rows to the device."""
        parts = [
            take_rows(self.data, rows).to(self.device) if len(rows) else None
            for rows in (self.train, self.valid)
        ]
        train, valid = parts
        assert train is not None
        if valid is not None and self.valid_weight is not None:
            valid.sample_weight = torch.from_numpy(self.valid_weight).to(self.device)
        return train, valid

    @property
    def monitor(self) -> str:
        """Name of the loss that schedules, stops and chooses the best epoch."""
        return "valid_loss" if len(self.valid) else "train_loss"


def prepare_fit(
    classifier: ImbalancedMLPClassifier,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    groups: ArrayLike | None,
) -> PreparedFit:
    """Check data and parameters, split the rows and fit the loss to them.

    Parameters
    ----------
    classifier : ImbalancedMLPClassifier
        Gets the learnt attributes that are known before the training.
    X, y, sample_weight, groups : array-like
        As given to its ``fit``.

    Returns
    -------
    prepared : PreparedFit

    Raises
    ------
    ValueError
        If the data or a parameter is not as described in the classifier.
    """
    if y is not None:
        check_labels(y, "row")
    # The networks' own tensors are not scikit-learn's: whatever comes in is read as numpy arrays.
    with config_context(array_api_dispatch=False):
        X, y = validate_data(classifier, X, plain_vector(y), dtype=np.float32)
        check_classification_targets(y)
        X, y, sample_weight, groups = _check_rows(X, y, sample_weight, groups)
    classifier.classes_, encoded = np.unique(y, return_inverse=True)
    classes = classifier.classes_
    if len(classes) < 2:
        raise ValueError(
            "ImbalancedMLPClassifier needs at least 2 classes; the data given to fit have 1 "
            f"class: {classes[0]!r}"
        )
    sizes = layer_sizes(classifier.hidden_layer_sizes, X.shape[1])
    _check_net_params(classifier.net_params or {})
    if classifier.batch_size == 1 and classifier.batch_norm and sizes:
        raise ValueError(
            "batch_size=1 leaves nothing to normalise over: set batch_norm=False or a larger "
            "batch_size"
        )
    check_prior(classifier.predict_proba_prior, classes)

    # Independent of one another: a change of the split does not change the initial weights.
    rng = check_random_state(classifier.random_state)
    split_seed, net_seed, batch_seed = (draw_seed(rng) for _ in range(3))
    train, valid = inner_split(
        encoded,
        validation_fraction=classifier.validation_fraction,
        groups=groups,
        random_state=split_seed,
    )
    train_weight = None if sample_weight is None else sample_weight[train]
    classifier.class_counts_ = class_counts(encoded[train], len(classes), train_weight)
    classifier.loss_ = get_loss(classifier.loss)
    criterion = build_criterion(
        classifier.loss_,
        classifier.class_counts_,
        class_weight=class_weight_in_order(classifier.class_weight, classes),
        reduction=classifier.reduction,
        max_epochs=classifier.max_epochs,
        sampler=classifier.sampler,
        batch_size=min(classifier.batch_size, len(train)),
        classes=classes,
    )
    classifier.class_weight_ = criterion.class_weight.numpy(force=True).astype(np.float64)
    classifier.draws_per_row_ = draws_per_row(
        classifier.sampler, encoded[train], len(classes), classifier.batch_size
    )
    valid_weight = None if sample_weight is None else sample_weight[valid]
    if criterion.supports_sample_weight:
        valid_weight = validation_weight(classifier.draws_per_row_, encoded[valid], valid_weight)
    return PreparedFit(
        data=TensorData(
            torch.from_numpy(X),
            torch.from_numpy(encoded.astype(np.int64)),
            None if sample_weight is None else torch.from_numpy(sample_weight),
        ),
        train=train,
        valid=valid,
        valid_weight=valid_weight,
        criterion=criterion,
        layer_sizes=sizes,
        cosine_head=_choose_head(classifier),
        net_seed=net_seed,
        batch_seed=batch_seed,
        device=resolve_device(classifier.device),
    )


def make_net(classifier: ImbalancedMLPClassifier, prepared: PreparedFit) -> TrainingNet:
    """Assemble the skorch net.

    Parameters
    ----------
    classifier : ImbalancedMLPClassifier
        Gives the settings.
    prepared : PreparedFit
        Of the same classifier.

    Returns
    -------
    net : TrainingNet
        Not initialised.
    """
    optimizer, optimizer_kwargs = optimizer_settings(classifier.optimizer, prepared.device)
    optimizer_kwargs |= _decay_settings(optimizer, classifier.weight_decay)
    n_classes = len(classifier.classes_)
    settings: dict[str, Any] = {
        "criterion": prepared.criterion,
        "optimizer": optimizer,
        "lr": classifier.learning_rate,
        **{f"optimizer__{key}": value for key, value in optimizer_kwargs.items()},
        "max_epochs": classifier.max_epochs,
        "batch_size": classifier.batch_size,
        "train_batches": BatchMaker(classifier.sampler, classifier.batch_size, prepared.batch_seed),
        "device": prepared.device,
        "verbose": 0,
        "module__n_features": classifier.n_features_in_,
        "module__n_classes": n_classes,
        "module__hidden_layer_sizes": prepared.layer_sizes,
        "module__activation": classifier.activation,
        "module__batch_norm": classifier.batch_norm,
        "module__dropout": classifier.dropout,
        "module__cosine_head": prepared.cosine_head,
        "callbacks": engine_callbacks(
            lr_scheduler=classifier.lr_scheduler,
            max_epochs=classifier.max_epochs,
            monitor=prepared.monitor,
            patience=classifier.n_iter_no_change if classifier.early_stopping else None,
            restore_best=classifier.restore_best_weights,
            user_callbacks=classifier.callbacks,
            progress=type(classifier).__name__ if classifier.verbose else None,
        ),
    }
    return TrainingNet(MLPModule, **{**settings, **(classifier.net_params or {})})


def _decay_settings(optimizer: type[Any], weight_decay: float) -> dict[str, float]:
    """Return the optimiser's settings of weight decay, or say why it can't train the network."""
    if not issubclass(optimizer, torch.optim.Optimizer):
        raise ValueError(f"optimizer={optimizer.__name__} is no subclass of torch.optim.Optimizer")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"optimizer={optimizer.__name__} evaluates the loss several times a step, and training "
            "on batches does so once: use another one, such as 'adamw'"
        )
    names = inspect.signature(optimizer).parameters
    if "weight_decay" in names or any(p.kind is p.VAR_KEYWORD for p in names.values()):
        return {"weight_decay": weight_decay}
    if weight_decay:
        raise ValueError(
            f"optimizer={optimizer.__name__} has no weight decay, and weight_decay={weight_decay}: "
            "set weight_decay=0"
        )
    return {}


def _check_net_params(net_params: Mapping[str, Any]) -> None:
    """Refuse parameters of the skorch net that the classifier itself sets."""
    for key in net_params:
        own = _OWN_NET_PARAMS.get(key)
        if own is None and key.startswith(("module__", "callbacks__", "iterator_")):
            own = _OWN_NET_PARAMS[key.partition("__")[0]]
        if own is not None:
            raise ValueError(
                f"net_params[{key!r}] would take the classifier's own training apart: use its "
                f"parameter {own} instead"
            )


_TOO_MANY_UNITS = 2**31  # no layer of a table; torch would only say that memory is short


def layer_sizes(hidden_layer_sizes: Any, n_features: int) -> list[int]:
    """Turn fractions of the number of features into numbers of units.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int or float
        As the user gave it.
    n_features : int
        Width of the input.

    Returns
    -------
    sizes : list of int
    """
    sizes = []
    for size in np.atleast_1d(np.asarray(hidden_layer_sizes, dtype=object)).tolist():
        is_int = isinstance(size, Integral) and not isinstance(size, bool)
        is_fraction = isinstance(size, Real) and not isinstance(size, Integral)
        if (is_int and size >= 1) or (is_fraction and 0 < size < np.inf):
            units = int(size) if is_int else max(1, round(size * n_features))
            if units < _TOO_MANY_UNITS:
                sizes.append(units)
                continue
        raise ValueError(
            f"hidden_layer_sizes={hidden_layer_sizes!r} holds {size!r}: give positive "
            "ints (numbers of units) or floats (fractions of the number of features) that make "
            f"fewer than {_TOO_MANY_UNITS} units"
        )
    return sizes


def network_memory(widths: Sequence[int], n_rows: int, batch_size: int) -> int:
    """Estimate the bytes that a network needs in training, without its data.

    Parameters
    ----------
    widths : list of int
        From the features to the classes.
    n_rows, batch_size : int
        Of the training.

    Returns
    -------
    n_bytes : int
    """
    n_parameters = sum(a * b for a, b in itertools.pairwise(widths))
    # Parameters, two moments, gradient, best epoch and a copy on the way; activations of a batch
    # and their gradients; row numbers and classes of an epoch.
    return 4 * (6 * n_parameters + 6 * min(batch_size, n_rows) * sum(widths)) + 3 * 8 * n_rows


def stack_memory(prepared: Sequence[PreparedFit], batch_size: int) -> int:
    """Estimate the bytes that fits of one shape need on their device.

    Parameters
    ----------
    prepared : list of PreparedFit
        They count data that they share once.
    batch_size : int
        Of all of them.

    Returns
    -------
    n_bytes : int
    """
    tables = {fit.data.X.data_ptr(): 4 * fit.data.X.numel() for fit in prepared}
    first = prepared[0]
    n_classes = first.criterion.n_classes
    widths = [first.data.X.shape[1], *first.layer_sizes, n_classes]
    nets = sum(network_memory(widths, len(fit.train), batch_size) for fit in prepared)
    return nets + sum(tables.values())


def take_rows(data: TensorData, rows: NDArray[np.intp]) -> TensorData:
    """Copy some rows.

    Parameters
    ----------
    data : TensorData
        All rows.
    rows : ndarray of int
        Their numbers.

    Returns
    -------
    data : TensorData
    """
    index = torch.from_numpy(rows)
    tensors = (data.X, data.y, data.sample_weight)
    return TensorData(*(tensor[index] for tensor in tensors if tensor is not None))


class BatchMaker:
    """Draw the batches of a training, from its own seed.

    Parameters
    ----------
    sampler : str or None
        How; None shuffles.
    batch_size : int
        Rows a batch.
    seed : int
        Of the order.
    """

    def __init__(self, sampler: str | None, batch_size: int, seed: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.seed = seed

    def __call__(self, data: TensorData) -> Any:
        """Return an iterable whose every iteration gives the batches of one more epoch."""
        return self.of_classes(data.y.cpu())

    def of_classes(self, y: torch.Tensor) -> Any:
        """Do the same from the classes of the rows alone."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.sampler is None:
            return ShuffledBatches(len(y), self.batch_size, generator)
        return make_batch_sampler(self.sampler, y, self.batch_size, generator)


def _choose_head(classifier: ImbalancedMLPClassifier) -> bool:
    """Say whether the logits are cosines, with a warning where the loss misses them."""
    loss = classifier.loss_
    if classifier.cosine_head == "auto":
        return loss.needs_cosine_head
    if loss.needs_cosine_head and not classifier.cosine_head:
        warn(
            f"the loss {loss.name!r} expects logits between -1 and 1, which "
            "cosine_head=False does not give: its margin and scale lose their meaning. Use "
            "cosine_head='auto'",
            ImbalanceWarning,
        )
    return bool(classifier.cosine_head)


def _check_rows(
    X: NDArray, y: NDArray, sample_weight: ArrayLike | None, groups: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray | None, NDArray | None]:
    """Check weights and groups, and take rows without weight out."""
    if groups is not None:
        groups = check_groups(groups, len(y), "row")
    if sample_weight is None:
        return X, y, None, groups
    sample_weight = _check_sample_weight(
        sample_weight, X, dtype=np.float32, ensure_non_negative=True
    )
    kept = sample_weight > 0
    if not kept.any():
        raise ValueError("every sample_weight is 0: there is no row to train on")
    if kept.all():
        return X, y, sample_weight, groups
    return X[kept], y[kept], sample_weight[kept], None if groups is None else groups[kept]
