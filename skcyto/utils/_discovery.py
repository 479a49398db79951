"""Find skcyto's public estimators, as :func:`sklearn.utils.discovery.all_estimators` does."""

from importlib import import_module

from sklearn.base import BaseEstimator

_PACKAGES = (
    "feature_extraction",
    "feature_selection",
    "model_selection",
    "neural_network",
)


def all_estimators() -> list[tuple[str, type[BaseEstimator]]]:
    """List every public estimator of skcyto.

    Returns
    -------
    estimators : list of (str, type)
        Name and class, sorted by name.

    Examples
    --------
    >>> from skcyto.utils import all_estimators
    >>> "ImportanceThresholdSelector" in dict(all_estimators())
    True
    """
    found: dict[str, type[BaseEstimator]] = {}
    for package in _PACKAGES:
        module = import_module(f"skcyto.{package}")
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)
            if isinstance(item, type) and issubclass(item, BaseEstimator):
                found[name] = item
    return sorted(found.items())
