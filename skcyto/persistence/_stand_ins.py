"""Parts of estimators in a form that skops can write, and that is checked when it is read."""

from __future__ import annotations

from functools import partial
from typing import Any

from scipy.interpolate import BSpline
from sklearn.feature_selection import (
    chi2,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)

# Scores of single features, for SelectKBest and its like.
FEATURE_SCORES = (
    chi2,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)


class SavedSpline:
    """A spline as its knots, coefficients and degree.

    Compiled code reads a spline without looking at bounds: it is made again by its constructor,
    which does.

    Parameters
    ----------
    spline : scipy.interpolate.BSpline
        Of a SplineTransformer.
    """

    def __init__(self, spline: BSpline) -> None:
        self.knots = spline.t
        self.coefficients = spline.c
        self.degree = spline.k
        self.extrapolate = spline.extrapolate

    def restore(self) -> BSpline:
        """Make the spline again."""
        return BSpline(self.knots, self.coefficients, self.degree, extrapolate=self.extrapolate)


class SavedPartial:
    """A score of single features with some of its arguments.

    Parameters
    ----------
    score : functools.partial
        Of one of :data:`FEATURE_SCORES`.
    """

    def __init__(self, score: partial[Any]) -> None:
        self.function = score.func
        self.args = score.args
        self.keywords = score.keywords

    def restore(self) -> partial[Any]:
        """Make the partial function again, of a score of single features only."""
        if not any(self.function is score for score in FEATURE_SCORES):
            raise ValueError(f"a partial function of {self.function!r} is none of scikit-learn's")
        return partial(self.function, *self.args, **self.keywords)


def is_feature_score(item: Any) -> bool:
    """Tell whether an object is a plain partial function of a score of single features.

    Parameters
    ----------
    item : object
        Any.

    Returns
    -------
    is_feature_score : bool
    """
    return type(item) is partial and any(item.func is score for score in FEATURE_SCORES)
