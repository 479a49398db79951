"""Drop features that do not differ between classes, then those that repeat another."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import BaseEstimator, _fit_context
from sklearn.feature_selection import SelectorMixin, mutual_info_classif
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_selection._blocks import batches, rows_in_memory
from skcyto.feature_selection._class_tests import (
    ClassTests,
    compare_classes,
    has_welch_anova,
)
from skcyto.feature_selection._correlation_scan import scan_correlated
from skcyto.feature_selection._naming import list_names
from skcyto.utils._pvalues import correct_pvalues
from skcyto.utils._validation import plain_vector
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


# Relative difference up to which p-values, statistics and scores are equal.
_EQUAL = 1e-9


class CorrelationTTestFilter(SelectorMixin, BaseEstimator):
    """Keep features that differ between classes and do not repeat each other.

    First each feature is tested for a difference in mean between the classes: a t-test for two
    classes, one-way analysis of variance for more. Those with ``p < alpha`` are then gone through
    in the order that `keep` says; a feature is dropped if its correlation with one *kept* before
    it is above `correlation_threshold` in magnitude.

    Both steps look at `y` or at all rows, so they belong inside the cross-validation fold: make
    the filter a step of a pipeline.

    Parameters
    ----------
    alpha : float, default=0.05
        Features with a p-value below this are kept; in (0, 1]. With ``alpha=1`` no feature is
        dropped for its p-value.

    correlation_threshold : float, default=0.9
        Largest ``|r|`` that two kept features may have; in [0, 1]. Coefficients that differ from it
        by less than 1e-12 count as equal to it. With 1 no feature is dropped for its correlation.

    equal_var : bool, default=True
        Whether the classes are taken to have one variance. False is Welch's test; for more than
        two classes it needs scipy 1.16 or later.

    correction : {"fdr_bh", "bonferroni", "holm"}, default=None
        How p-values are corrected for the number of features tested, before they are compared with
        `alpha`.

    method : {"pearson", "spearman"}, default="pearson"
        Which correlation.

    keep : {"first", "lowest_pvalue", "highest_variance", "mutual_info"}, default="first"
        Which feature of a correlated pair stays: the earlier column, the one with the lower p-value
        (of equal ones that with the larger statistic), the one with the higher variance (which
        depends on the features' units) or the one with the higher mutual information with `y`.
        Ties, up to rounding, go to the earlier column.

    random_state : int, RandomState instance or None, default=None
        For the estimate of mutual information; used with ``keep="mutual_info"`` only.

    Attributes
    ----------
    pvalues_ : ndarray of shape (n_features,), float64
        p-values before correction; NaN for features that could not be tested.

    corrected_pvalues_ : ndarray of shape (n_features,), float64
        p-values that were compared with `alpha`.

    statistics_ : ndarray of shape (n_features,), float64
        t (positive where the first class in sorted order has the larger mean) or F.

    correlations_ : ndarray of shape (n_features,), float64
        For each significant feature its correlation with the kept feature before it that it is
        correlated with most; NaN for others and where none was kept before.

    correlated_with_ : ndarray of shape (n_features,), int
        Column of that feature; -1 for none.

    support_ : ndarray of shape (n_features,), bool
        Which features are kept.

    dropped_ : pandas.DataFrame
        One row for each dropped feature, in column order: `feature`; `reason` ("missing", no value
        at all; "constant"; "untestable", no p-value; "not significant"; "correlated");
        `correlated_with`, the kept feature it repeats, and `correlation` with it; `pvalue`;
        `corrected_pvalue`.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all are strings.

    Warns
    -----
    DroppedFeatureWarning
        If features are missing, constant or untestable, or if none is kept.

    See Also
    --------
    ImportanceThresholdSelector : Selects by a model's importances.
    sklearn.feature_selection.SelectFpr : Significance only.

    Notes
    -----
    NaN counts as missing. A test leaves out the rows that this feature misses; it needs one value a
    class and more values than classes (Welch: two a class; Welch's analysis of variance also a
    variance in each class). A correlation leaves out the rows that either feature misses; with
    fewer than three rows shared two features count as uncorrelated. Spearman's ranks are taken
    anew for each pattern of missing rows, which is slow if all features miss other rows.
    ``keep="mutual_info"`` takes no missing values.

    Memory: besides `X` there is one float64 copy of the significant columns; correlations are
    computed in blocks within scikit-learn's ``working_memory`` (see
    :func:`sklearn.set_config`), so never all at once. The result does not depend on it.

    The tests take rows as independent. Where a patient or an animal gives several rows, p-values
    are too small, and a grouped cross-validation is still needed.

    References
    ----------
    B. L. Welch, "On the comparison of several mean values: an alternative approach", Biometrika
    38 (1951), 330-336.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_selection import CorrelationTTestFilter
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 50)
    >>> signal = y + 0.5 * rng.normal(size=100)
    >>> X = np.column_stack([signal, -2 * signal + 1, rng.normal(size=100)])
    >>> selector = CorrelationTTestFilter().fit(X, y)
    >>> selector.get_support()
    array([ True, False, False])
    >>> selector.dropped_[["feature", "reason", "correlated_with", "correlation"]]
      feature           reason correlated_with  correlation
    0      x1       correlated              x0         -1.0
    1      x2  not significant             NaN          NaN
    """

    _parameter_constraints = {
        "alpha": [Interval(Real, 0, 1, closed="right")],
        "correlation_threshold": [Interval(Real, 0, 1, closed="both")],
        "equal_var": ["boolean"],
        "correction": [StrOptions({"fdr_bh", "bonferroni", "holm"}), None],
        "method": [StrOptions({"pearson", "spearman"})],
        "keep": [StrOptions({"first", "lowest_pvalue", "highest_variance", "mutual_info"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        alpha: float = 0.05,
        correlation_threshold: float = 0.9,
        *,
        equal_var: bool = True,
        correction: str | None = None,
        method: str = "pearson",
        keep: str = "first",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.alpha = alpha
        self.correlation_threshold = correlation_threshold
        self.equal_var = equal_var
        self.correction = correction
        self.method = method
        self.keep = keep
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> CorrelationTTestFilter:
        """Test the features and go through the significant ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data; NaN is missing.

        y : array-like of shape (n_samples,)
            Class of each row.

        **fit_params : dict
            None is taken: `sample_weight` among them is refused, since the tests have no weights.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `y` holds fewer than two classes or continuous values, if there are too few rows for
            the test, or with ``keep="mutual_info"`` and missing values.
        TypeError
            If `sample_weight` or another fit parameter is given.
        """
        _refuse(fit_params)
        # Statistics are scipy's: whatever comes in is read as numpy arrays.
        with config_context(array_api_dispatch=False):
            data, target = validate_data(
                self,
                X,
                plain_vector(y),
                dtype=(np.float64, np.float32),
                ensure_all_finite="allow-nan",
                ensure_min_samples=2,
            )
        codes = self._check_classes(target)
        if self.keep == "mutual_info":
            self._check_complete(data)

        tests = compare_classes(data, codes, equal_var=self.equal_var)
        self.statistics_, self.pvalues_ = tests.statistics, tests.pvalues
        self.corrected_pvalues_ = correct_pvalues(tests.pvalues, self.correction)
        # Correction caps p-values at 1, so `p < alpha` alone would drop features at alpha=1.
        significant = np.isfinite(self.pvalues_) & (
            (self.corrected_pvalues_ < self.alpha) | (self.alpha == 1)
        )

        order = self._order(data, codes, np.flatnonzero(significant))
        scan = scan_correlated(
            data, order, threshold=self.correlation_threshold, method=self.method
        )
        self.support_ = np.zeros(self.n_features_in_, dtype=bool)
        self.support_[order[scan.kept]] = True
        self.correlations_ = np.full(self.n_features_in_, np.nan)
        self.correlations_[order] = scan.correlation
        self.correlated_with_ = np.full(self.n_features_in_, -1, dtype=np.intp)
        self.correlated_with_[order] = np.where(scan.partner < 0, -1, order[scan.partner])

        self.dropped_ = self._tabulate_dropped(tests, significant)
        self._warn()
        return self

    def _check_classes(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        if len(classes) < 2:
            raise ValueError(
                f"the filter compares classes, but y holds 1 class only: {classes[0]!r}"
            )
        if self.equal_var and len(y) == len(classes):
            raise ValueError(
                f"each of the {len(y)} rows has a class of its own: no test has any degrees of "
                "freedom. Is y continuous?"
            )
        if not self.equal_var:
            if counts.min() < 2:
                raise ValueError(
                    f"class {classes[np.argmin(counts)]!r} has one row, and Welch's test needs two "
                    "of each class: use equal_var=True or leave that class out"
                )
            if len(classes) > 2 and not has_welch_anova():
                raise ValueError(
                    "equal_var=False with more than two classes is Welch's analysis of variance, "
                    "which needs scipy 1.16 or later: upgrade scipy or use equal_var=True"
                )
        return codes

    def _check_complete(self, X: np.ndarray) -> None:
        missing = np.isnan(X).any(axis=0)
        if missing.any():
            raise ValueError(
                "keep='mutual_info' takes no missing values, but NaN is in "
                f"{list_names(self._input_names()[missing])}: impute them before the filter, or "
                "choose another `keep`"
            )

    def _order(self, X: np.ndarray, codes: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Sort significant columns so that what is to be kept comes first."""
        if self.keep == "first" or not len(columns):
            return columns
        if self.keep == "lowest_pvalue":
            keys = (-np.abs(self.statistics_[columns]), self.pvalues_[columns])
            return columns[np.lexsort([_rank(key) for key in keys])]
        if self.keep == "highest_variance":
            score = np.empty(len(columns))
            for batch in batches(len(columns), rows_in_memory(len(X), copies=3)):
                part = X[:, columns[batch]].astype(np.float64)
                score[batch] = np.nanvar(part, axis=0, ddof=1)
        else:
            score = mutual_info_classif(X[:, columns], codes, random_state=self.random_state)
        return columns[np.argsort(_rank(-score), kind="stable")]

    def _input_names(self) -> np.ndarray:
        if hasattr(self, "feature_names_in_"):
            return self.feature_names_in_
        return np.array([f"x{column}" for column in range(self.n_features_in_)], dtype=object)

    def _tabulate_dropped(self, tests: ClassTests, significant: np.ndarray) -> pd.DataFrame:
        reason = np.where(significant, "correlated", "not significant").astype(object)
        reason[np.isnan(tests.pvalues)] = "untestable"
        reason[tests.constant] = "constant"
        reason[tests.n_observed == 0] = "missing"
        dropped = np.flatnonzero(~self.support_)
        names = self._input_names()
        correlated = significant[dropped]
        return pd.DataFrame(
            {
                "feature": names[dropped],
                "reason": reason[dropped],
                "correlated_with": np.where(
                    correlated, names[self.correlated_with_[dropped]], np.nan
                ),
                "correlation": self.correlations_[dropped],
                "pvalue": self.pvalues_[dropped],
                "corrected_pvalue": self.corrected_pvalues_[dropped],
            }
        )

    def _warn(self) -> None:
        explanations = {
            "missing": "have no value at all",
            "constant": "are constant",
            "untestable": "have too few values, or no variance, in a class to be tested",
        }
        for reason, explanation in explanations.items():
            names = self.dropped_.loc[self.dropped_["reason"] == reason, "feature"].to_numpy()
            if len(names):
                warn(
                    f"dropped {list_names(names)}, which {explanation}",
                    DroppedFeatureWarning,
                )
        if not self.support_.any() and np.isfinite(self.corrected_pvalues_).any():
            smallest = np.nanmin(self.corrected_pvalues_)
            warn(
                f"none of {self.n_features_in_} features has p < alpha={self.alpha}; the smallest "
                f"p is {smallest:.3g} (correction={self.correction!r})",
                DroppedFeatureWarning,
            )

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        return self.support_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.keep != "mutual_info"
        tags.target_tags.required = True
        return tags


def _rank(keys: np.ndarray) -> np.ndarray:
    """Rank sort keys so that those that differ by rounding alone have the same rank.

    A copy in other units, or one that is computed in another block, has another last digit.
    """
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]
    before, after = ascending[:-1], ascending[1:]
    is_new = ~np.isclose(after, before, rtol=_EQUAL, atol=0)
    ranks = np.zeros(len(keys), dtype=np.intp)
    ranks[order[1:]] = np.cumsum(is_new)
    return ranks


def _refuse(fit_params: dict[str, Any]) -> None:
    if "sample_weight" in fit_params:
        raise TypeError(
            "CorrelationTTestFilter takes no sample_weight: a t-test counts rows and has no "
            "weights. Give the weights to the classifier's step alone"
        )
    if fit_params:
        raise TypeError(
            f"CorrelationTTestFilter.fit takes X and y only, not {', '.join(sorted(fit_params))}"
        )
