"""The training engine: skorch's loop and callbacks over batches that are sliced on the device.

skorch's own loop collates every batch from single rows and asks the device for the loss after
each step. Data that fits in memory needs neither: whole tensors live on the device, a batch is
one indexed read, and the loss is fetched once an epoch. Callbacks that listen to batches switch
skorch's own loop back on, so nothing of skorch is lost.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import skorch
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EpochTimer,
    InputShapeSetter,
    LRScheduler,
    TrainEndCheckpoint,
)
from skorch.utils import to_device
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from torch.utils.data import Dataset

from skcyto.neural_network._stages import BestEpoch, EpochLRScheduler
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import process_state

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
LR_SCHEDULERS = ("plateau", "cosine")
# Epochs without improvement before "plateau" lowers the learning rate, and by which factor.
PLATEAU_PATIENCE = 5
PLATEAU_FACTOR = 0.5


class TensorData(Dataset):
    """Rows in memory: features, encoded classes and, where given, sample weights.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
        Features.
    y : tensor of int64, shape (n_samples,)
        Encoded classes.
    sample_weight : tensor of shape (n_samples,) or None
        Weights of the rows.
    """

    def __init__(
        self, X: torch.Tensor, y: torch.Tensor, sample_weight: torch.Tensor | None = None
    ) -> None:
        self.X = X
        self.y = y
        self.sample_weight = sample_weight

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Any) -> tuple[Any, torch.Tensor]:
        """Read rows as skorch expects a batch: weights travel beside the input."""
        if self.sample_weight is None:
            return self.X[rows], self.y[rows]
        return {"X": self.X[rows], "sample_weight": self.sample_weight[rows]}, self.y[rows]

    def to(self, device: torch.device) -> TensorData:
        """Copy the rows to a device."""
        weight = None if self.sample_weight is None else self.sample_weight.to(device)
        return TensorData(self.X.to(device), self.y.to(device), weight)


class ShuffledBatches:
    """Batches in a new random order each epoch; no batch of a single row.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    batch_size : int
        Rows a batch. A last batch of one row joins the batch before: batch normalisation has no
        variance to work with otherwise.
    generator : torch.Generator
        Source of the order.
    """

    def __init__(self, n_samples: int, batch_size: int, generator: torch.Generator) -> None:
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.generator = generator

    def __iter__(self) -> Iterator[torch.Tensor]:
        order = torch.randperm(self.n_samples, generator=self.generator)
        batches = list(order.split(int(self.batch_size)))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        return iter(batches)


class TensorBatches:
    """Iterate over a :class:`TensorData` by tensors of row numbers.

    Parameters
    ----------
    data : TensorData
        Rows on their device.
    rows : iterable of tensor or None
        Row numbers of each batch; None for all rows as one batch.
    """

    def __init__(self, data: TensorData, rows: Iterable[torch.Tensor] | None) -> None:
        self.dataset = data
        self.rows = rows

    def __iter__(self) -> Iterator[tuple[Any, torch.Tensor]]:
        if self.rows is None:
            yield self.dataset[:]
            return
        device = self.dataset.X.device
        for rows in self.rows:
            yield self.dataset[rows.to(device)]


class TrainingNet(ClassifierMixin, skorch.NeuralNet):
    """A skorch net that trains on :class:`TensorData` and knows skcyto's criteria.

    Parameters
    ----------
    module : type
        Class of the network.
    *args, **kwargs
        As for :class:`skorch.NeuralNet`.
    train_batches : callable or None
        Called with the training data, returns an iterable over row numbers of batches.
    """

    def __init__(
        self,
        module: type[torch.nn.Module],
        *args: Any,
        train_batches: Callable[[TensorData], Iterable[torch.Tensor]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.train_batches = train_batches
        super().__init__(module, *args, **kwargs)

    @property
    def classes_(self) -> NDArray[np.intp]:
        """Encoded classes, for callbacks that score this net as a classifier."""
        return np.arange(len(self.criterion_.class_counts))

    def predict(self, X: Any) -> NDArray[np.intp]:
        """Predict the encoded class with the largest probability."""
        return self.predict_proba(X).argmax(axis=1)

    def _get_predict_nonlinearity(self) -> Callable[[torch.Tensor], torch.Tensor]:
        # skorch knows that of cross-entropy alone; callbacks would get logits for probabilities.
        return lambda logits: torch.softmax(self.criterion_.scores(logits.to("cpu")), dim=1)

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        # The losses of an epoch are recorded by `run_single_epoch`.
        return [("epoch_timer", EpochTimer())]

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return training and validation data, which the estimator has split already."""
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Slice tensors that are in memory; leave every other data set to skorch."""
        if isinstance(dataset, TensorData):
            rows = self.train_batches(dataset) if training and self.train_batches else None
            return TensorBatches(dataset, rows)
        return super().get_iterator(dataset, training=training)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """Compute logits; sample weights are for the loss alone."""
        return self.module_(to_device(x["X"] if isinstance(x, dict) else x, self.device))

    def get_loss(
        self, y_pred: torch.Tensor, y_true: torch.Tensor, X: Any = None, training: bool = False
    ) -> torch.Tensor:
        """Compute the criterion with the weights of the batch."""
        weight = to_device(X["sample_weight"], self.device) if isinstance(X, dict) else None
        return self.criterion_(y_pred, to_device(y_true, self.device), weight)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Notify callbacks; a stop that one asks for differs from an interrupt by the user."""
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as interrupt:
            if method_name == "on_epoch_end":
                raise StopTraining from interrupt
            raise

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Tell the criterion which epoch begins, for losses that change on the way."""
        super().on_epoch_begin(net, **kwargs)
        self.criterion_.set_epoch(len(self.history) - 1)

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any) -> Any:
        """Train; unlike skorch, an interrupt by the user is not swallowed."""
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        with suppress(StopTraining):
            self.fit_loop(X, y, **fit_params)
        self.notify("on_train_end", X=X, y=y)
        return self

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable[..., Any],
        **fit_params: Any,
    ) -> None:
        """Run one epoch, fetching the loss once unless a callback wants every batch."""
        if iterator is None:
            return
        if not isinstance(iterator, TensorBatches) or self._callbacks_want_batches():
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
            batches = self.history[-1, "batches"]
            pairs = [
                (batch[f"{prefix}_loss"], batch[f"{prefix}_batch_size"])
                for batch in batches
                if f"{prefix}_loss" in batch
            ]
            mean = sum(loss * size for loss, size in pairs) / sum(size for _, size in pairs)
        else:
            mean = self._train_epoch(iterator) if training else self._validate(iterator)
        self.record_loss(f"{prefix}_loss", mean)

    def record_loss(self, key: str, mean: float) -> None:
        """Take the loss of an epoch down, and whether it is the best so far."""
        best = min((row[key] for row in self.history[:-1]), default=math.inf)
        self.history.record(key, mean)
        # What skorch's own callbacks, such as Checkpoint, look at.
        self.history.record(f"{key}_best", mean < best)

    def _train_epoch(self, batches: TensorBatches) -> float:
        self._set_training(True)
        total: Any = 0.0
        n_samples = 0
        for X, y in batches:
            self.optimizer_.zero_grad(set_to_none=True)
            loss = self.get_loss(self.infer(X), y, X=X, training=True)
            loss.backward()
            self.optimizer_.step()
            total = total + loss.detach() * len(y)
            n_samples += len(y)
        return float(total) / n_samples

    def _validate(self, batches: TensorBatches) -> float:
        self._set_training(False)
        with torch.no_grad():
            ((X, y),) = batches
            return float(self.get_loss(self.infer(X), y, X=X, training=False))

    def _callbacks_want_batches(self) -> bool:
        hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
        return any(
            # Checkpoints format file names of an epoch's last batch.
            isinstance(callback, (Checkpoint, TrainEndCheckpoint))
            or getattr(type(callback), hook) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
            if not isinstance(callback, EpochLRScheduler)
            for hook in hooks
        )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # How batches were drawn belongs to the fit, and a torch.Generator does not pickle
        # everywhere.
        state["train_batches"] = None
        return state


class StopTraining(Exception):
    """A callback asked for the end of training."""


class _ProgressBar(Callback):
    """Show epochs, losses and the learning rate."""

    def __init__(self, max_epochs: int, desc: str) -> None:
        self.max_epochs = max_epochs
        self.desc = desc

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar_ = progress_bar(total=self.max_epochs, desc=self.desc, unit="epoch", verbose=1)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        row = net.history[-1]
        shown = {key: f"{row[key]:.4g}" for key in ("train_loss", "valid_loss") if key in row}
        self.bar_.set_postfix(shown)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()
        del self.bar_


class _CheckLoss(Callback):
    """Stop with an error as soon as a loss is no number: nothing after it can be right."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Look at the losses of the epoch."""
        error = diverged(net.history[-1], net.optimizer_.param_groups[0]["lr"])
        if error is not None:
            raise error


def diverged(row: Mapping[str, Any], learning_rate: float) -> ValueError | None:
    """Return an error where a loss of an epoch is no number.

    Parameters
    ----------
    row : mapping
        What was recorded of the epoch.
    learning_rate : float
        In force.

    Returns
    -------
    error : ValueError or None
    """
    for key in ("train_loss", "valid_loss"):
        value = row.get(key)
        if value is not None and not abs(value) < float("inf"):
            return ValueError(
                f"the {key} became {value} in epoch {row['epoch']}: training diverged. Scale "
                "the features (for instance with StandardScaler) or lower learning_rate "
                f"(now {learning_rate:.3g})"
            )
    return None


def engine_callbacks(
    *,
    lr_scheduler: str | None,
    max_epochs: int,
    monitor: str,
    patience: int | None,
    restore_best: bool,
    user_callbacks: Sequence[Any] | None,
    progress: str | None,
) -> list[tuple[str, Callback]]:
    """Assemble the callbacks of a fit.

    Parameters
    ----------
    lr_scheduler : {"plateau", "cosine"} or None
        Schedule of the learning rate.
    max_epochs : int
        Length of the cosine, and of the progress bar.
    monitor : {"train_loss", "valid_loss"}
        What the plateau, the early stop and the best epoch look at.
    patience : int or None
        Epochs without improvement in the criterion's last stage before training stops; None for
        never.
    restore_best : bool
        Put the weights of the best epoch back at the end.
    user_callbacks : sequence of skorch callbacks or (name, callback) pairs, or None
        What the user adds; copied, since skorch changes them.
    progress : str or None
        Title of a progress bar; None for no bar.

    Returns
    -------
    callbacks : list of (str, Callback)
    """
    callbacks: list[Any] = [("check_loss", _CheckLoss())]
    own = [pair[1] if isinstance(pair, tuple) else pair for pair in user_callbacks or ()]
    if any(_is_kind(callback, InputShapeSetter) for callback in own):
        raise ValueError(
            "callbacks: InputShapeSetter has nothing to set, since the network takes its sizes "
            "from X and y: leave it out"
        )
    if any(_is_kind(callback, LRScheduler) for callback in own):
        lr_scheduler = None  # two would each set the rate that the other one set
    if lr_scheduler == "plateau":
        scheduler = EpochLRScheduler(
            ReduceLROnPlateau,
            monitor=monitor,
            patience=PLATEAU_PATIENCE,
            factor=PLATEAU_FACTOR,
            event_name="learning_rate",
        )
        callbacks.append(("lr_scheduler", scheduler))
    elif lr_scheduler == "cosine":
        scheduler = EpochLRScheduler(
            CosineAnnealingLR, T_max=max_epochs, event_name="learning_rate"
        )
        callbacks.append(("lr_scheduler", scheduler))
    callbacks.extend(copy.deepcopy(list(user_callbacks or ())))
    if progress is not None:
        callbacks.append(("progress", _ProgressBar(max_epochs, progress)))
    # Last, since it may end the training: everyone else has seen the epoch by then.
    best_epoch = BestEpoch(
        monitor=monitor,
        patience=max_epochs + 1 if patience is None else patience,
        threshold=0.0,
        load_best=restore_best,
    )
    callbacks.append(("best_epoch", best_epoch))
    return callbacks


def _is_kind(callback: Any, kind: type) -> bool:
    return isinstance(callback, kind) or (isinstance(callback, type) and issubclass(callback, kind))


def optimizer_settings(
    optimizer: str | type[torch.optim.Optimizer], device: torch.device
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the optimiser's class and the settings that make it quick on a device.

    Parameters
    ----------
    optimizer : str or type
        A name of ``OPTIMIZERS`` or a class of :mod:`torch.optim`.
    device : torch.device
        Where the parameters are.

    Returns
    -------
    optimizer : type
    settings : dict
    """
    cls = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    # One kernel for all parameters instead of several for each: a third of a step of a small net.
    fused = cls in OPTIMIZERS.values() and device.type in ("cpu", "cuda")
    return cls, ({"fused": True} if fused else {})


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Run torch on one CPU thread, and put the number back afterwards.

    How a matrix product is cut over threads changes the last bit of its sums, and joblib changes
    the number of threads with `n_jobs`. Networks on tables are too small to gain from threads:
    the candidates and folds of a search are what runs in parallel. The number belongs to the
    process, so that other threads wait until the block ends.

    Parameters
    ----------
    device : torch.device
        Where the network runs; nothing is done for any but the CPU.
    """
    if device.type != "cpu":
        yield
        return
    with process_state():
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
