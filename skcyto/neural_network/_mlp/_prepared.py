"""What a fit of ImbalancedMLPClassifier starts from: rows, sizes, batches, and their checks."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight

from skcyto.losses import Criterion
from skcyto.neural_network._row_checks import check_groups
from skcyto.neural_network._samplers import make_batch_sampler
from skcyto.neural_network._training import ShuffledBatches, TensorData

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


def decay_settings(optimizer: type[Any], weight_decay: float) -> dict[str, float]:
    """Return an optimiser's settings of weight decay, or say why it can't train the network.

    Parameters
    ----------
    optimizer : type
        Class of the optimiser.
    weight_decay : float
        As the user gave it.

    Returns
    -------
    settings : dict

    Raises
    ------
    ValueError
        If it evaluates the loss several times a step, or has no weight decay and one is asked for.
    """
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


def check_net_params(net_params: Mapping[str, Any]) -> None:
    """Refuse parameters of the skorch net that the classifier itself sets.

    Parameters
    ----------
    net_params : mapping
        As the user gave them.
    """
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


def training_memory(prepared: Sequence[PreparedFit], batch_size: int) -> int:
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


def check_rows(
    X: NDArray, y: NDArray, sample_weight: ArrayLike | None, groups: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray | None, NDArray | None]:
    """Check weights and groups, and take rows without weight out.

    Parameters
    ----------
    X, y : ndarray
        Checked rows.
    sample_weight, groups : array-like or None
        As the user gave them.

    Returns
    -------
    X, y, sample_weight, groups : ndarray or None
        Rows that take part.
    """
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
