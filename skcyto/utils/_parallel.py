"""Run calls with joblib and take their results as they come, on every backend."""

from __future__ import annotations

from typing import Any

from sklearn.utils.parallel import Parallel


def streaming_parallel(n_jobs: int | None, *, ordered: bool = True, **settings: Any) -> Parallel:
    """Make a joblib ``Parallel`` whose results can be iterated over while others are computed.

    Parameters
    ----------
    n_jobs : int or None
        Calls at once.
    ordered : bool, default=True
        Whether results come in the order of the calls, or each as soon as it is there.
    **settings : dict
        Further arguments of :class:`joblib.Parallel`.

    Returns
    -------
    parallel : sklearn.utils.parallel.Parallel
        Returns a generator; a list on backends that give all results at once, as Dask's does.
    """
    kind = "generator" if ordered else "generator_unordered"
    try:
        return Parallel(n_jobs=n_jobs, return_as=kind, **settings)
    except ValueError as error:
        if "return_as" not in str(error):
            raise
        return Parallel(n_jobs=n_jobs, **settings)
