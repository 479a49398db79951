"""Turn parameter distributions of scikit-learn, scipy and optuna into suggestions of a trial."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from skcyto.model_selection._fingerprints import fingerprint_estimator

# Which dict of a list of dicts a trial has drawn.
_SUBSPACE = "subspace"
# Quantiles at which unbounded distributions are cut: their ends would be infinite.
_TAIL = 1e-6
_PRIMITIVES = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Dimension:
    """One parameter: what optuna suggests and what the estimator gets.

    Parameters
    ----------
    suffix : str
        Added to the parameter's name in the trial where the two differ in meaning.
    distribution : optuna distribution
        What is suggested.
    decode : callable
        From the suggested value to the parameter's.
    description : str
        Equal for equal dimensions, on every machine.
    """

    suffix: str
    distribution: BaseDistribution
    decode: Callable[[Any], Any]
    description: str


class DistributionSpace:
    """Parameters with a distribution each, or several such sets to choose from.

    Parameters
    ----------
    param_distributions : dict or list of dict
        As :class:`OptunaSearchCV` takes them.
    """

    def __init__(
        self, param_distributions: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> None:
        given = (
            [param_distributions]
            if isinstance(param_distributions, Mapping)
            else list(param_distributions)
        )
        if not given:
            raise ValueError("param_distributions is empty: give at least one dict")
        for subspace in given:
            if not isinstance(subspace, Mapping):
                raise TypeError(
                    "param_distributions must be a dict, a list of dicts or a callable; the list "
                    f"holds {subspace!r}"
                )
        self.subspaces = [
            {name: make_dimension(name, value) for name, value in subspace.items()}
            for subspace in given
        ]

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return the parameters that a trial stands for, suggesting those it has not yet.

        Parameters
        ----------
        trial : optuna trial
            Running, fixed or finished.
        """
        index = 0
        if len(self.subspaces) > 1:
            index = trial.suggest_categorical(_SUBSPACE, list(range(len(self.subspaces))))
        params = {}
        for name, dimension in self.subspaces[index].items():
            value = _suggest(trial, self._name(index, name), dimension.distribution)
            params[name] = dimension.decode(value)
        return params

    def _name(self, index: int, name: str) -> str:
        """Return a name under which all trials of a study suggest from one distribution."""
        suffix = self.subspaces[index][name].suffix
        kinds = {space[name].description for space in self.subspaces if name in space}
        return f"{name}{suffix}" if len(kinds) == 1 else f"{name}{suffix}[{index}]"

    def fingerprint(self) -> str:
        """Return a text that is equal for equal spaces, on every machine."""
        return json.dumps(
            [
                {name: dimension.description for name, dimension in space.items()}
                for space in self.subspaces
            ],
            sort_keys=True,
        )


class CallableSpace:
    """A space that a function of the trial defines as it goes.

    Parameters
    ----------
    define : callable
        From a trial to a dict of parameters.
    """

    def __init__(self, define: Callable[[Any], dict[str, Any]]) -> None:
        self.define = define

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return the parameters that a trial stands for.

        Parameters
        ----------
        trial : optuna trial
            Running, fixed or finished.
        """
        params = self.define(trial)
        if not isinstance(params, Mapping):
            raise TypeError(
                "param_distributions, being a callable, must return a dict of parameters, not "
                f"{params!r}"
            )
        return dict(params)

    def fingerprint(self) -> str:
        """Return a text that changes with the code of the function."""
        return fingerprint_estimator(self.define)


Space = DistributionSpace | CallableSpace


def make_space(param_distributions: Any) -> Space:
    """Read `param_distributions`.

    Raises
    ------
    TypeError, ValueError
        If an entry is no distribution, naming it.
    """
    if callable(param_distributions):
        return CallableSpace(param_distributions)
    return DistributionSpace(param_distributions)


def make_dimension(name: str, value: Any) -> Dimension:
    """Read the distribution of one parameter."""
    if not isinstance(name, str):
        raise TypeError(f"param_distributions: the name {name!r} must be a string")
    if isinstance(value, BaseDistribution):
        description = optuna.distributions.distribution_to_json(value)
        return Dimension("", value, _identity, description)
    if hasattr(value, "rvs"):
        return _from_scipy(name, value)
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise ValueError(f"param_distributions[{name!r}] must be one-dimensional")
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray)):
        raise TypeError(
            f"param_distributions[{name!r}]={value!r} must be a list of values, a distribution of "
            "scipy.stats (or any object with rvs) or one of optuna.distributions; a single value "
            "goes into a list"
        )
    if len(value) == 0:
        raise ValueError(f"param_distributions[{name!r}] has no value to choose from")
    choices = list(value)
    labels = _labels(choices)
    distribution = CategoricalDistribution(labels)
    description = optuna.distributions.distribution_to_json(distribution)
    if any(isinstance(label, _Label) for label in labels) or labels != choices:
        # Labels are names: two functions, or an array before and after a change, may share one.
        description += fingerprint_estimator(choices)
    return Dimension("", distribution, _Choose(distribution, choices), description)


def _suggest(trial: Any, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    return trial.suggest_categorical(name, distribution.choices)


class _Label(str):
    """What stands for a choice in a storage, equal to the choice itself.

    Samplers over a grid and queued trials name the choice as the user has it.
    """

    choice: Any

    def __new__(cls, text: str, choice: Any) -> _Label:
        label = super().__new__(cls, text)
        label.choice = choice
        return label

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str.__eq__(self, other) or (
                isinstance(self.choice, str) and other == self.choice
            )
        return type(other) is type(self.choice) and _text(other) == _text(self.choice)

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return _Label, (str(self), self.choice)


def _text(choice: Any) -> str:
    return " ".join(repr(choice).split())


def _labels(choices: list[Any]) -> list[Any]:
    """Return what stands for the choices in a storage: themselves, or a short text of each."""
    plain = [item.item() if isinstance(item, np.generic) else item for item in choices]
    # 1, 1.0 and True are equal, though not the same parameter.
    if all(type(item) in _PRIMITIVES for item in plain) and len(set(plain)) == len(plain):
        return plain
    texts = [_text(item) for item in plain]
    if len(set(texts)) == len(texts) and not any(" at 0x" in text for text in texts):
        return [_Label(text, item) for text, item in zip(texts, choices, strict=True)]
    return [f"{type(item).__name__} {number}" for number, item in enumerate(plain)]


def _from_scipy(name: str, value: Any) -> Dimension:
    """Suggest from a frozen distribution, uniformly in its own scale where it has one."""
    frozen = getattr(value, "dist", None)
    if frozen is None or not hasattr(value, "ppf"):
        # All that is known of it is how to draw: the seed is suggested, and kept in the trial.
        seeds = IntDistribution(0, 2**31 - 1)
        kind = type(value)
        settings = sorted(getattr(value, "__dict__", {}).items())
        description = f"rvs of {kind.__module__}.{kind.__qualname__} {settings}"
        return Dimension(":seed", seeds, _Draw(value), description)
    low, high = (bound.item() for bound in map(np.asarray, value.support()))
    description = f"{frozen.name} {value.args} {sorted(value.kwds.items())}"
    distribution: BaseDistribution | None = None
    if frozen.name == "randint":
        distribution = IntDistribution(int(low), int(high))
    elif frozen.name == "uniform":
        distribution = FloatDistribution(low, high)
    elif frozen.name in ("loguniform", "reciprocal") and np.isclose(
        value.median(), np.sqrt(low * high)
    ):
        # A shifted one (loc) has its median elsewhere and is no log-uniform distribution.
        distribution = FloatDistribution(low, high, log=True)
    if distribution is not None:
        return Dimension("", distribution, _identity, description)
    # The quantile 0 of a discrete distribution lies below its support.
    closed = np.isfinite(low) and not hasattr(frozen, "pmf")
    quantiles = FloatDistribution(
        0.0 if closed else _TAIL, 1.0 if np.isfinite(high) else 1.0 - _TAIL
    )
    return Dimension(":quantile", quantiles, _Quantile(value), description)


def _identity(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Choose:
    distribution: CategoricalDistribution
    choices: list[Any]

    def __call__(self, label: Any) -> Any:
        return self.choices[int(self.distribution.to_internal_repr(label))]


@dataclass(frozen=True)
class _Draw:
    distribution: Any

    def __call__(self, seed: int) -> Any:
        return self.distribution.rvs(random_state=seed)


@dataclass(frozen=True)
class _Quantile:
    distribution: Any

    def __call__(self, quantile: float) -> Any:
        value = self.distribution.ppf(quantile)
        is_discrete = hasattr(self.distribution.dist, "pmf")
        return int(value) if is_discrete else float(value)
