"""A multi-layer perceptron for tables whose classes are imbalanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.func import functional_call

from skcyto.exceptions import ImbalanceWarning
from skcyto.losses import Criterion, Loss, get_loss
from skcyto.neural_network._imbalance import build_criterion, class_counts
from skcyto.neural_network._inner_split import inner_split
from skcyto.neural_network._mlp._prepared import (
    BatchMaker,
    PreparedFit,
    check_net_params,
    check_rows,
    decay_settings,
    layer_sizes,
    training_memory,
)
from skcyto.neural_network._mlp._state import load_mlp_state, save_mlp_state
from skcyto.neural_network._modules import ACTIVATIONS, MLPModule
from skcyto.neural_network._neural_classifier import (
    TRAINING_PARAMETERS,
    NeuralClassifierMixin,
    check_prior,
)
from skcyto.neural_network._row_checks import check_labels
from skcyto.neural_network._samplers import draws_per_row, validation_weight
from skcyto.neural_network._training import (
    OPTIMIZERS,
    TensorData,
    TrainingNet,
    engine_callbacks,
    one_thread,
    optimizer_settings,
)
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._devices._reservation import reserve_memory
from skcyto.utils._random import draw_seed, torch_seed
from skcyto.utils._validation import plain_vector
from skcyto.utils._warnings import warn

# Rows that are sent through the network at once in prediction.
_PREDICTION_BATCH = 65_536


class ImbalancedMLPClassifier(NeuralClassifierMixin, BaseEstimator):
    """Multi-layer perceptron with losses, weights and samplers for imbalanced classes.

    Every setting that depends on the classes (weights, margins, priors) is fitted to the rows
    that train: neither the scored fold nor the rows that choose the best epoch are counted.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int or float, default=(256,)
        Width of each hidden layer: an int is a number of units, a float a fraction of the number
        of features. ``(0.5,)`` is the network of the TED paper, ``(1024, 512, 256)`` that of the
        PS3C paper, ``()`` a linear model, ``8`` the same as ``(8,)``.
    loss : str or skcyto.losses.Loss, default="ce"
        Loss function: a name of :func:`skcyto.losses.available` or a parameter object such as
        ``Focal(gamma=1.5)``, whose parameters are searched as ``loss__gamma``.
    class_weight : {"balanced", "max_ratio", "effective"}, dict or None, default=None
        Weights of the classes in the loss: "balanced" is n / (C n_c), "max_ratio" max(n) / n_c,
        "effective" (1 - beta) / (1 - beta**n_c) scaled to sum C; a dict is keyed by the labels of
        `y` and a label that it leaves out weighs 1.
    reduction : {"weight_sum", "count"}, default="weight_sum"
        Whether the weighted loss of a batch is divided by the sum of its weights, as torch does,
        or by its number of rows, which is unbiased in small batches.
    sampler : {"balanced", "stratified", "grouped"} or None, default=None
        How batches are drawn: class-uniform with replacement, with every class in its share, or
        with the same number of each class. None shuffles. The validation loss weighs each class
        as often as it is drawn, since that is the loss that training minimises.
    predict_proba_prior : "train", array-like of shape (n_classes,) or None, default=None
        Class prior of the probabilities: as class weights, loss and sampler trained them (None),
        that of the training rows ("train"), or a given one in the order of ``classes_``. Correction
        changes `predict` too, since it stays the most probable class.
    cosine_head : bool or "auto", default="auto"
        Let the logits be cosines, as the LDAM loss expects; "auto" does so for that loss alone.
    activation : {"elu", "gelu", "leaky_relu", "relu", "silu", "tanh"}, default="relu"
        Activation of the hidden layers.
    batch_norm : bool, default=True
        Normalise each hidden layer over the batch.
    dropout : float, default=0.2
        Probability of dropping a hidden unit, in [0, 1).
    optimizer : {"adam", "adamw", "sgd"} or torch.optim.Optimizer class, default="adamw"
        Optimiser; not one that evaluates the loss several times a step, such as LBFGS.
    learning_rate : float, default=1e-3
        Initial learning rate.
    weight_decay : float, default=0.01
        Weight decay of the optimiser; must be 0 with one that has none, such as Rprop.
    lr_scheduler : {"plateau", "cosine"} or None, default="plateau"
        "plateau" halves the learning rate after five epochs without improvement, "cosine" anneals
        it over `max_epochs`.
    batch_size : int, default=128
        Rows a batch.
    max_epochs : int, default=100
        Longest training.
    validation_fraction : float or None, default=0.1
        Share of the training rows that chooses the best epoch, stratified by class and, where
        `groups` are given, never splitting a group. None trains on all rows and looks at the
        training loss.
    early_stopping : bool, default=False
        Stop after `n_iter_no_change` epochs without improvement. Where the loss defers its class
        weights, as ``LDAM(drw_start=0.8)``, they are counted once the weights are in force.
    n_iter_no_change : int, default=15
        Patience of `early_stopping`, in epochs.
    restore_best_weights : bool, default=True
        Put the weights of the epoch with the lowest validation loss (without validation rows:
        training loss) back at the end; False keeps those of the last epoch.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, then MPS, then the CPU; the workers of joblib are
        spread over several CUDA devices.
    random_state : int, RandomState or None, default=None
        Validation rows, initial weights, order of the batches and dropout. On the CPU the same
        seed gives the same result to the bit, whatever `n_jobs` and joblib backend a search runs
        with; threads of one process train one after the other.
    callbacks : list of skorch callbacks or None, default=None
        Added to the training; callbacks that listen to single batches make it slower. They see the
        net as a classifier of encoded classes 0, 1, ..., with probabilities, and the epochs'
        ``train_loss`` and ``valid_loss``, with ``_best`` behind them where an epoch is the best so
        far. A learning rate scheduler among them takes the place of `lr_scheduler`.
    net_params : dict or None, default=None
        Further parameters of the skorch net, such as ``{"optimizer__betas": (0.9, 0.99)}``.
    verbose : int, default=0
        Show a progress bar with the losses when above 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; the order of the columns of `predict_proba`.
    class_counts_ : ndarray of float, shape (n_classes,)
        Cases of each class among the rows that trained; sums of weights with `sample_weight`.
    class_weight_ : ndarray of float, shape (n_classes,)
        Weight of each class in the loss; ones where there is none.
    draws_per_row_ : ndarray of float, shape (n_classes,)
        How often, on average, an epoch showed a row of each class: ones without a `sampler`.
    loss_ : skcyto.losses.Loss
        Loss that was used.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : list of dict
        One row an epoch: epoch, train_loss, valid_loss, learning_rate, dur (seconds).
    n_iter_ : int
        Epochs that were run.
    best_epoch_ : int
        Epoch, from 1, with the lowest monitored loss; where the loss defers its class weights, of
        the epochs with weights.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.

    See Also
    --------
    skcyto.losses : The losses and their parameters.
    skcyto.model_selection.TunedLogitBiasClassifierCV : Tune the decision instead of the training.

    Notes
    -----
    On the CPU a fit runs on one thread, since the number of threads changes the last bit of a sum
    and networks of this size gain nothing from more; run candidates and folds in parallel with
    `n_jobs` instead.

    References
    ----------
    .. [1] The PS3C pipeline: a network of 1024, 512 and 256 hidden units on EVA-02 tokens.
    .. [2] The TED pipeline: a network of d/2 hidden units with CE, weighted CE, focal, LDAM or
       minimax loss.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcyto.losses import Focal
    >>> from skcyto.neural_network import ImbalancedMLPClassifier
    >>> X, y = make_classification(300, weights=[0.9], random_state=0)
    >>> classifier = ImbalancedMLPClassifier(
    ...     (0.5,), loss=Focal(gamma=1.5), max_epochs=20, random_state=0
    ... )
    >>> pipeline = make_pipeline(StandardScaler(), classifier).fit(X, y)
    >>> pipeline.predict_proba(X).shape
    (300, 2)
    >>> pipeline[-1].class_counts_
    array([242.,  28.])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **TRAINING_PARAMETERS,
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "cosine_head": ["boolean", StrOptions({"auto"})],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "batch_norm": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "callbacks": [list, None],
        "net_params": [dict, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int | float] = (256,),
        *,
        loss: str | Loss = "ce",
        class_weight: str | Mapping[Any, float] | None = None,
        reduction: str = "weight_sum",
        sampler: str | None = None,
        predict_proba_prior: str | ArrayLike | None = None,
        cosine_head: bool | str = "auto",
        activation: str = "relu",
        batch_norm: bool = True,
        dropout: float = 0.2,
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        lr_scheduler: str | None = "plateau",
        batch_size: int = 128,
        max_epochs: int = 100,
        validation_fraction: float | None = 0.1,
        early_stopping: bool = False,
        n_iter_no_change: int = 15,
        restore_best_weights: bool = True,
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        callbacks: list[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.loss = loss
        self.class_weight = class_weight
        self.reduction = reduction
        self.sampler = sampler
        self.predict_proba_prior = predict_proba_prior
        self.cosine_head = cosine_head
        self.activation = activation
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.lr_scheduler = lr_scheduler
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.restore_best_weights = restore_best_weights
        self.device = device
        self.random_state = random_state
        self.callbacks = callbacks
        self.net_params = net_params
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> ImbalancedMLPClassifier:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; computed with as float32.
        y : array-like of shape (n_samples,)
            Labels: strings, numbers or booleans of at least two classes.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0; a row of weight 0 takes no part at all.
        groups : array-like of shape (n_samples,) or None, default=None
            Patients, slides or acquisitions: the validation rows never share one with the rows
            that train. Reaches a pipeline's last step by ``set_fit_request(groups=True)``.

        Returns
        -------
        self : ImbalancedMLPClassifier

        Raises
        ------
        ValueError
            If the data or a parameter is not as described, or training diverges.
        """
        prepared = self._prepare_fit(X, y, sample_weight, groups)
        device = prepared.device
        needed = training_memory([prepared], self.batch_size)
        with (
            reserve_memory(device, needed),
            one_thread(device),
            torch_seed(prepared.net_seed, device),
        ):
            self.net_ = self._make_net(prepared)
            self.net_.fit(prepared.splits())
        self._store_history()
        return self

    def _prepare_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
    ) -> PreparedFit:
        """Check data and parameters, split the rows and fit the loss to those that train."""
        X, encoded, sample_weight, groups = self._check_data(X, y, sample_weight, groups)
        sizes = self._check_settings(X.shape[1])
        # Independent of one another: a change of the split does not change the initial weights.
        rng = check_random_state(self.random_state)
        split_seed, net_seed, batch_seed = (draw_seed(rng) for _ in range(3))
        train, valid = inner_split(
            encoded,
            validation_fraction=self.validation_fraction,
            groups=groups,
            random_state=split_seed,
        )
        criterion = self._fit_loss(
            encoded[train], None if sample_weight is None else sample_weight[train]
        )
        valid_weight = None if sample_weight is None else sample_weight[valid]
        if criterion.supports_sample_weight:
            valid_weight = validation_weight(self.draws_per_row_, encoded[valid], valid_weight)
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
            cosine_head=self._choose_head(),
            net_seed=net_seed,
            batch_seed=batch_seed,
            device=resolve_device(self.device),
        )

    def _check_data(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
    ) -> tuple[NDArray, NDArray, NDArray | None, NDArray | None]:
        """Check rows and labels, and encode the labels."""
        if y is not None:
            check_labels(y, "row")
        # The networks' own tensors are not scikit-learn's: what comes in is read as numpy arrays.
        with config_context(array_api_dispatch=False):
            X, y = validate_data(self, X, plain_vector(y), dtype=np.float32)
            check_classification_targets(y)
            X, y, sample_weight, groups = check_rows(X, y, sample_weight, groups)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "ImbalancedMLPClassifier needs at least 2 classes; the data given to fit have 1 "
                f"class: {self.classes_[0]!r}"
            )
        return X, encoded, sample_weight, groups

    def _check_settings(self, n_features: int) -> list[int]:
        """Check parameters by the data, and return the widths of the hidden layers."""
        sizes = layer_sizes(self.hidden_layer_sizes, n_features)
        check_net_params(self.net_params or {})
        if self.batch_size == 1 and self.batch_norm and sizes:
            raise ValueError(
                "batch_size=1 leaves nothing to normalise over: set batch_norm=False or a larger "
                "batch_size"
            )
        check_prior(self.predict_proba_prior, self.classes_)
        return sizes

    def _fit_loss(self, encoded: NDArray, sample_weight: NDArray | None) -> Criterion:
        """Fit the loss to the rows that train."""
        n_classes = len(self.classes_)
        self.class_counts_ = class_counts(encoded, n_classes, sample_weight)
        self.loss_ = get_loss(self.loss)
        criterion = build_criterion(
            self.loss_, self.class_counts_, self.classes_, len(encoded), self
        )
        self.class_weight_ = criterion.class_weight.numpy(force=True).astype(np.float64)
        self.draws_per_row_ = draws_per_row(self.sampler, encoded, n_classes, self.batch_size)
        return criterion

    def _choose_head(self) -> bool:
        """Say whether the logits are cosines, with a warning where the loss misses them."""
        if self.cosine_head == "auto":
            return self.loss_.needs_cosine_head
        if self.loss_.needs_cosine_head and not self.cosine_head:
            warn(
                f"the loss {self.loss_.name!r} expects logits between -1 and 1, which "
                "cosine_head=False does not give: its margin and scale lose their meaning. Use "
                "cosine_head='auto'",
                ImbalanceWarning,
            )
        return bool(self.cosine_head)

    def _make_net(self, prepared: PreparedFit) -> TrainingNet:
        """Assemble the skorch net, not initialised."""
        optimizer, optimizer_kwargs = optimizer_settings(self.optimizer, prepared.device)
        optimizer_kwargs |= decay_settings(optimizer, self.weight_decay)
        settings: dict[str, Any] = {
            "criterion": prepared.criterion,
            "optimizer": optimizer,
            "lr": self.learning_rate,
            **{f"optimizer__{key}": value for key, value in optimizer_kwargs.items()},
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "train_batches": BatchMaker(self.sampler, self.batch_size, prepared.batch_seed),
            "device": prepared.device,
            "verbose": 0,
            "module__n_features": self.n_features_in_,
            "module__n_classes": len(self.classes_),
            "module__hidden_layer_sizes": prepared.layer_sizes,
            "module__activation": self.activation,
            "module__batch_norm": self.batch_norm,
            "module__dropout": self.dropout,
            "module__cosine_head": prepared.cosine_head,
            "callbacks": engine_callbacks(
                lr_scheduler=self.lr_scheduler,
                max_epochs=self.max_epochs,
                monitor=prepared.monitor,
                patience=self.n_iter_no_change if self.early_stopping else None,
                restore_best=self.restore_best_weights,
                user_callbacks=self.callbacks,
                progress=type(self).__name__ if self.verbose else None,
            ),
        }
        return TrainingNet(MLPModule, **{**settings, **(self.net_params or {})})

    def _network_scores(self, X: ArrayLike) -> tuple[torch.Tensor, Criterion]:
        check_is_fitted(self)
        with config_context(array_api_dispatch=False):
            X = validate_data(self, X, dtype=np.float32, reset=False)
        module, criterion = self.net_.module_, self.net_.criterion_
        device = next(module.parameters()).device
        module.eval()
        # In float32 the last digits of a row depend on the rows beside it, and a scaled loss such
        # as LDAM multiplies them by 30. On the CPU double precision costs next to nothing.
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        weights = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }
        with one_thread(device), torch.inference_mode():
            # Doubles from here on, so that the probabilities of a row sum to one to 1e-15.
            scores = torch.cat(
                [
                    criterion.scores(
                        functional_call(module, weights, (rows.to(device, dtype),))
                    ).to("cpu", torch.float64)
                    for rows in torch.from_numpy(X).split(_PREDICTION_BATCH)
                ]
            )
        return scores, criterion

    def _save_state(self, weights: Path) -> dict[str, Any]:
        return save_mlp_state(self.__dict__, type(self)().get_params(deep=False), weights)

    def _load_state(self, state: dict[str, Any], weights: Path | None) -> None:
        self.__dict__.update(load_mlp_state(state, weights))

    def _store_history(self) -> None:
        """Keep what users look at in plain Python types."""
        keys = ("epoch", "train_loss", "valid_loss", "learning_rate", "dur")
        rows = [{k: row[k] for k in keys if k in row} for row in self.net_.history]
        self._keep_history(rows, self.net_.criterion_)
