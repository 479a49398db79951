"""Sensible hyperparameter spaces for skcyto's estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scipy.stats import loguniform, uniform
from sklearn.base import BaseEstimator
from sklearn.model_selection._search import BaseSearchCV

from skcyto.losses import available, get_loss


def suggest_space(estimator: BaseEstimator) -> dict[str, Any]:
    """Suggest which hyperparameters to search, and between which values.

    Looks for skcyto's estimators in `estimator` itself and in whatever it is made of: the steps
    of a pipeline, the model inside a selector. Names come with their prefix.

    Parameters
    ----------
    estimator : estimator
        One of skcyto's, or a pipeline, union or other estimator that holds some.

    Returns
    -------
    space : dict
        Lists and distributions of :mod:`scipy.stats`, as :class:`OptunaSearchCV` and
        :class:`~sklearn.model_selection.RandomizedSearchCV` take them; change it as any dict.

    Raises
    ------
    ValueError
        If there is no estimator of skcyto with a space in `estimator`.

    See Also
    --------
    OptunaSearchCV : Searches it.

    Notes
    -----
    What you have chosen stays. With ``loss="focal"`` the parameters of the focal loss and the
    samplers are searched instead of the loss; with class weights or a balanced sampler only losses
    that don't correct for the imbalance once more; with ``sampler="stratified"`` or "grouped" also
    those that compare the classes within a batch ("minimax", "group_dro" and their like), which
    need every class in it. Losses and samplers are not suggested together, since most pairs correct
    twice: choose one, and the other is searched.

    :class:`~skcyto.feature_extraction.RadiomicsExtractor` has no space: its settings define what
    is measured.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcyto.feature_selection import CorrelationTTestFilter
    >>> from skcyto.model_selection import suggest_space
    >>> pipeline = make_pipeline(StandardScaler(), CorrelationTTestFilter(), LogisticRegression())
    >>> for name in suggest_space(pipeline):
    ...     print(name)
    correlationttestfilter__alpha
    correlationttestfilter__correlation_threshold
    """
    if not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise TypeError(
            f"estimator={estimator!r} must be an estimator: an instance, of skcyto or holding one"
        )
    space: dict[str, Any] = {}
    searches: list[str] = []
    parts = {"": estimator, **estimator.get_params(deep=True)}
    # Parents before their parts.
    for name in sorted(parts, key=lambda name: name.count("__") + bool(name)):
        part = parts[name]
        prefix = f"{name}__" if name else ""
        if any(prefix.startswith(search) for search in searches) or isinstance(part, type):
            continue
        if isinstance(part, BaseSearchCV):
            # It finds its own parameters.
            searches.append(prefix)
            continue
        make = _find(part)
        if make is not None:
            space.update({f"{prefix}{key}": value for key, value in make(part).items()})
    if not space:
        raise ValueError(
            f"{type(estimator).__name__} holds no estimator of skcyto that has a space to suggest "
            f"({', '.join(sorted(_SPACES))}): write one by hand, as for RandomizedSearchCV"
        )
    return space


def _find(part: Any) -> Callable[[Any], dict[str, Any]] | None:
    """Look a part up by the names of its classes, so that nothing need be imported."""
    for cls in type(part).__mro__:
        if cls.__module__.startswith("skcyto.") and cls.__name__ in _SPACES:
            return _SPACES[cls.__name__]
    return None


def _mlp(estimator: Any) -> dict[str, Any]:
    return {
        # The networks of the TED and PS3C papers, and what lies between and below.
        "hidden_layer_sizes": [(64,), (0.5,), (256,), (256, 64), (1024, 512, 256)],
        "dropout": uniform(0.0, 0.6),
        "learning_rate": loguniform(1e-4, 1e-2),
        "weight_decay": loguniform(1e-5, 1e-1),
        "batch_size": [32, 64, 128, 256],
        **_losses(estimator),
    }


def _eva02_classifier(estimator: Any) -> dict[str, Any]:
    return {
        # Around the papers' 1e-5 where all layers learn alike; layer decay wants more at the head.
        "learning_rate": loguniform(3e-6, 5e-4),
        "layer_decay": [0.65, 0.75, 0.85, 1.0],
        "weight_decay": loguniform(1e-2, 3e-1),
        "drop_path": [0.0, 0.1, 0.2],
        **_losses(estimator),
    }


def _losses(estimator: Any) -> dict[str, Any]:
    """Suggest losses, or the parameters of the one that was chosen and samplers that go with it."""
    loss = get_loss(estimator.loss)
    weighted, sampler = estimator.class_weight is not None, estimator.sampler
    if loss.name == "ce" and loss.get_params() == get_loss("ce").get_params():
        return {"loss": [name for name in available() if _go_together(name, weighted, sampler)]}
    space = {f"loss__{key}": value for key, value in _LOSS_PARAMETERS.get(loss.name, {}).items()}
    if sampler is None:
        samplers = (None, "balanced", "stratified")  # "grouped" fails without groups
        fitting = [item for item in samplers if _go_together(loss.name, weighted, item)]
        if len(fitting) > 1:
            space["sampler"] = fitting
    return space


def _go_together(name: str, weighted: bool, sampler: str | None) -> bool:
    """Tell whether the imbalance is corrected once at most, and batches hold what a loss needs."""
    loss = get_loss(name)
    if loss.needs_every_class_in_batch:
        return not weighted and sampler in ("stratified", "grouped")
    if weighted and loss.uses_class_counts and name != "ldam":
        return False  # LDAM with class weights is its authors' own recipe
    drawn = sampler in ("balanced", "grouped")
    return not (drawn and (weighted or loss.uses_class_counts))


_LOSS_PARAMETERS: dict[str, dict[str, Any]] = {
    "ce": {"label_smoothing": uniform(0.0, 0.2)},
    "wce": {"label_smoothing": uniform(0.0, 0.2)},
    "focal": {"gamma": uniform(0.5, 2.5)},
    "class_balanced": {"beta": [0.9, 0.99, 0.999, 0.9999], "gamma": uniform(0.0, 2.0)},
    "ldam": {"max_margin": uniform(0.1, 0.7), "scale": loguniform(5.0, 50.0)},
    "logit_adjusted": {"tau": uniform(0.25, 1.75)},
    "vector_scaling": {"gamma": uniform(0.0, 0.5), "tau": uniform(0.25, 1.75)},
    "group_dro": {"step_size": loguniform(1e-3, 1e-1)},
    "cvar": {"alpha": uniform(0.2, 0.7)},
    "poly1": {"epsilon": uniform(0.0, 4.0)},
}


def _token_embedder(estimator: Any) -> dict[str, Any]:
    # With a cache all of them come from one pass of the images.
    return {"tokens": ["class", "image", "all"], "final_norm": [True, False]}


def _importance_threshold(estimator: Any) -> dict[str, Any]:
    return {"threshold": ["knee", "0.5*mean", "mean", "1.5*mean", "median"]}


def _correlation_filter(estimator: Any) -> dict[str, Any]:
    return {"alpha": loguniform(1e-3, 2e-1), "correlation_threshold": uniform(0.7, 0.29)}


_SPACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "CorrelationTTestFilter": _correlation_filter,
    "EVA02Classifier": _eva02_classifier,
    "EVA02TokenEmbedder": _token_embedder,
    "ImbalancedMLPClassifier": _mlp,
    "ImportanceThresholdSelector": _importance_threshold,
}
