"""Look through pipelines."""

from __future__ import annotations

from typing import Any


def last_step(estimator: Any) -> Any:
    """Return what an estimator ends in, through pipelines in pipelines.

    Parameters
    ----------
    estimator : estimator
        Any.

    Returns
    -------
    estimator : estimator
        The same where it is no pipeline.
    """
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator
