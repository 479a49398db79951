"""Keep the features that come out the same when a scan is measured again."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, _fit_context
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_selection._intraclass_correlation import ICC_FORMS, intraclass_correlation
from skcyto.feature_selection._naming import list_names
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


class ReproducibilityFilter(SelectorMixin, BaseEstimator):
    """Keep features whose intraclass correlation over repeated measurements is high enough.

    The repeated measurements of the training cases come as `repeats` in `fit`: features from
    masks that somebody else drew, from a second scan, or from masks that
    :func:`skcyto.feature_extraction.perturb_masks` moved a little. `repeats` is metadata with one
    entry a case, so that cross-validation hands each fold those of its training cases and the
    choice is made anew inside the fold.

    Parameters
    ----------
    icc : {"ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)"}, \
            default="ICC(2,1)"
        Which intraclass correlation, in the terms of Shrout and Fleiss [1]_: 1 where each case has
        other raters, 2 for absolute agreement with raters from a larger number, 3 for consistency
        among these very raters; 1 for a single measurement, k for the mean of all.

    threshold : float, default=0.75
        Features with at least this correlation are kept; in [0, 1]. 0.75 is called good, 0.9
        excellent [2]_.

    Attributes
    ----------
    icc_ : ndarray of shape (n_features,), float64
        Intraclass correlation of each feature; NaN where there is none. May be below 0.

    n_subjects_ : ndarray of shape (n_features,), int
        Cases with all measurements of each feature.

    n_measurements_ : int
        Measurements a case, that in `X` included.

    support_ : ndarray of shape (n_features,), bool
        Which features are kept.

    dropped_ : pandas.DataFrame
        One row for each dropped feature, in column order: `feature`; `reason` ("missing", fewer
        than two cases have all its measurements; "constant"; "not reproducible"); `icc`;
        `n_subjects`.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all are strings.

    Warns
    -----
    DroppedFeatureWarning
        If features are missing or constant, or if none is kept.

    See Also
    --------
    skcyto.feature_extraction.perturb_masks : Repeated masks where there is one of each scan.
    CorrelationTTestFilter : The filter that follows in a radiomics study.

    Notes
    -----
    `repeats` may hold NaN: a case that was measured once has a row of NaN and has no part in the
    correlations, while the later steps of a pipeline see it as any other.

    Where the repeated cases are a cohort of their own, there is nothing to choose inside the fold:
    fit the filter on them and wrap it in :class:`sklearn.frozen.FrozenEstimator`.

    Measure before scaling: the columns of `X` and `repeats` must be in the same units.

    References
    ----------
    .. [1] Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability.
       Psychological Bulletin 86(2), 1979. doi:10.1037/0033-2909.86.2.420.
    .. [2] Koo TK, Li MY. A guideline of selecting and reporting intraclass correlation coefficients
       for reliability research. Journal of Chiropractic Medicine 15(2), 2016.
       doi:10.1016/j.jcm.2016.02.012.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_selection import ReproducibilityFilter
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(30, 3))
    >>> error = rng.normal(size=(30, 3)) * [0.1, 0.5, 2.0]
    >>> selector = ReproducibilityFilter().fit(X, repeats=X + error)
    >>> selector.icc_.round(2)
    array([1.  , 0.91, 0.22])
    >>> selector.transform(X).shape
    (30, 2)
    """

    _parameter_constraints = {
        "icc": [StrOptions(set(ICC_FORMS))],
        "threshold": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, icc: str = "ICC(2,1)", threshold: float = 0.75) -> None:
        self.icc = icc
        self.threshold = threshold

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, *, repeats: ArrayLike | None = None
    ) -> ReproducibilityFilter:
        """Compute the intraclass correlations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            First measurement; NaN is missing.

        y : array-like or None, default=None
            Ignored.

        repeats : array-like of shape (n_samples, n_features) or \
                (n_samples, n_repeats, n_features)
            Further measurements of the same cases; NaN is missing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `repeats` is not given, does not fit `X`, or fewer than two cases have any.
        """
        data = validate_data(
            self,
            X,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2,
        )
        measurements = np.concatenate([data[:, None], self._check_repeats(repeats, data)], axis=1)
        self.n_measurements_ = measurements.shape[1]
        self.icc_, self.n_subjects_ = intraclass_correlation(measurements, self.icc)
        if not (self.n_subjects_ > 1).any():
            raise ValueError(
                "no feature has all of its measurements in two or more of the "
                f"{len(data)} cases: are the repeats of other cases, or all NaN?"
            )
        self.support_ = self.icc_ >= self.threshold
        self.dropped_ = self._tabulate_dropped()
        self._warn()
        return self

    def _check_repeats(self, repeats: Any, data: np.ndarray) -> np.ndarray:
        if repeats is None:
            raise ValueError(
                "ReproducibilityFilter needs measurements to compare with: pass fit(X, y, "
                "repeats=...). In a pipeline that is the fit parameter "
                "reproducibilityfilter__repeats, or metadata that set_fit_request(repeats=True) "
                "asks for"
            )
        names = getattr(repeats, "columns", None)
        own = getattr(self, "feature_names_in_", None)
        if names is not None and own is not None and list(names) != list(own):
            raise ValueError(
                "the columns of repeats must be those of X, in the same order; first difference: "
                + _first_difference(list(names), list(own))
            )
        values = check_array(
            repeats,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            allow_nd=True,
            input_name="repeats",
        )
        values = values[:, None] if values.ndim == 2 else values
        n_samples, n_features = data.shape
        if values.ndim != 3 or (len(values), values.shape[2]) != (n_samples, n_features):
            raise ValueError(
                f"repeats must have the shape ({n_samples}, {n_features}) of X, or "
                f"({n_samples}, n_repeats, {n_features}); got {np.shape(repeats)}"
            )
        return values

    def _tabulate_dropped(self) -> pd.DataFrame:
        reason = np.where(np.isnan(self.icc_), "constant", "not reproducible").astype(object)
        reason[self.n_subjects_ < 2] = "missing"
        dropped = np.flatnonzero(~self.support_)
        return pd.DataFrame(
            {
                "feature": self._input_names()[dropped],
                "reason": reason[dropped],
                "icc": self.icc_[dropped],
                "n_subjects": self.n_subjects_[dropped],
            }
        )

    def _input_names(self) -> np.ndarray:
        if hasattr(self, "feature_names_in_"):
            return self.feature_names_in_
        return np.array([f"x{column}" for column in range(self.n_features_in_)], dtype=object)

    def _warn(self) -> None:
        for reason, explanation in {
            "missing": "have fewer than two cases with all measurements",
            "constant": "are constant",
        }.items():
            names = self.dropped_.loc[self.dropped_["reason"] == reason, "feature"].to_numpy()
            if len(names):
                warn(f"dropped {list_names(names)}, which {explanation}", DroppedFeatureWarning)
        if not self.support_.any() and not np.isnan(self.icc_).all():
            warn(
                f"none of {self.n_features_in_} features has {self.icc} >= {self.threshold}; the "
                f"largest is {np.nanmax(self.icc_):.3g}",
                DroppedFeatureWarning,
            )

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        return self.support_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _first_difference(names: list[Any], own: list[Any]) -> str:
    for theirs, ours in zip(names, own, strict=False):
        if theirs != ours:
            return f"{theirs!r} in the place of {ours!r}"
    return f"{len(names)} columns in the place of {len(own)}"
