"""Which models and classes a picture or test is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from skcyto.model_selection._results._data import ComparisonData, gives_scores, records_of


def choose_models(
    comparison: ComparisonData, models: Sequence[str] | None, *, scored: bool = False
) -> list[str]:
    """Choose the models to draw.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    models : list of str or None
        Names; None for all that can be drawn.
    scored : bool, default=False
        Whether only models with scores for classes can be drawn.

    Raises
    ------
    ValueError
        If a model is unknown or can't be drawn, or none can.
    """
    if models is None:
        chosen = list(comparison.models)
        if scored:
            chosen = [name for name in chosen if gives_scores(comparison, name)]
        if not chosen:
            raise ValueError("no model gives probabilities or decision values to draw a curve from")
        return chosen
    if not isinstance(models, Iterable):
        raise TypeError(f"models={models!r} must be a name, a list of names or None")
    chosen = [models] if isinstance(models, str) else list(models)
    if not chosen:
        raise ValueError("models is empty: name at least one")
    for name in chosen:
        records_of(comparison, name)
        if scored and not gives_scores(comparison, name):
            raise ValueError(f"model {name!r} gives neither probabilities nor decision values")
    return chosen


def choose_classes(comparison: ComparisonData, pos_label: Any) -> list[int]:
    """Return the codes of the classes whose curves are drawn.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    pos_label : label or None
        A class; None for the positive one of two or the average over more.
    """
    if pos_label is None:
        if len(comparison.classes) > 2:
            return list(range(len(comparison.classes)))
        return [int(np.flatnonzero(comparison.classes == comparison.pos_label)[0])]
    labels = comparison.classes.tolist()
    found = [code for code, known in enumerate(labels) if known == pos_label]
    if len(found) != 1:
        raise ValueError(f"pos_label={pos_label!r} is no class; there are {labels}")
    return found


def describe_classes(comparison: ComparisonData, codes: Sequence[int]) -> str:
    """Name the classes of a curve for an axis."""
    if len(codes) > 1:
        return f"average of {len(codes)} classes"
    return f"{comparison.classes.tolist()[codes[0]]}"
