"""Keep the features that a model finds important."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context, clone
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, check_is_fitted, column_or_1d, validate_data

from skcyto.feature_selection._importances import read_importances
from skcyto.feature_selection._threshold import resolve_threshold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


class ImportanceThresholdSelector(MetaEstimatorMixin, SelectorMixin, BaseEstimator):
    """Keep the features whose importance to a model lies above a threshold.

    Differs from :class:`~sklearn.feature_selection.SelectFromModel` in four ways: the threshold is
    strict (``>``), so ``threshold=0`` drops the features that a tree never used; linear models
    are ranked by the mean over classes of ``|coef_|``; pipelines are looked through; and
    ``threshold="knee"`` finds the cut where the sorted importances fall off a cliff.

    Parameters
    ----------
    estimator : estimator
        Model that ranks the features: any with ``coef_`` or ``feature_importances_`` after `fit`,
        or a pipeline that ends in one. Coefficients compare features fairly only where these have
        one scale: put a :class:`~sklearn.preprocessing.StandardScaler` before a linear model.

    threshold : float or {"knee", "mean", "median"}, default="knee"
        A feature is kept if its importance is greater than this. A multiple is written
        "0.5*mean". For "knee" see Notes. To keep just the `max_features` best, use ``-np.inf``.

    importance_getter : "auto", str or callable, default="auto"
        "auto" takes ``coef_``, else ``feature_importances_``, of the model, of a pipeline's last
        step or of a search's best estimator. A str is a dotted attribute such as
        ``"regressor_.coef_"``; a callable takes the fitted model and returns an array of shape
        (n_features,) or (n_classes, n_features). Magnitudes are taken of whatever comes.

    aggregate : {"mean", "max", "norm"}, default="mean"
        How the magnitudes of several classes become one number: their mean, their largest, or
        their Euclidean norm.

    prefit : bool, default=False
        Whether `estimator` is fitted already and shall not be fitted again. Inside
        cross-validation this leaks: the model has seen the rows that are scored.

    max_features : int, default=None
        Largest number of features to keep; of equal importances the earlier column wins.

    allow_empty : bool, default=False
        Whether it is allowed that no feature is kept. `fit` raises otherwise.

    one_vs_rest : bool, default=False
        Whether to fit one clone of `estimator` a class, this class against all others, and to
        average their importances. Two classes need one model only.

    Attributes
    ----------
    importances_ : ndarray of shape (n_features,), float64
        Importance of each input feature.

    threshold_ : float
        Number that `threshold` stands for.

    support_ : ndarray of shape (n_features,), bool
        Which features are kept.

    estimator_ : estimator
        Fitted model; absent with ``one_vs_rest=True``.

    estimators_ : list of estimators
        Fitted models, one a class in sorted order; with ``one_vs_rest=True`` only.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all are strings.

    See Also
    --------
    CorrelationTTestFilter : Filters by significance and correlation, without a model.
    ImportanceThresholdDisplay : Sorted importances and the cut.

    Notes
    -----
    The knee: the positive importances are sorted in decreasing order, and a straight line (chord)
    joins the two ends of their curve on a log10 scale. The last feature kept is, of the lower half,
    the one farthest above the line; the threshold is the next smaller importance. Where no point
    of the lower half lies above the line, every positive importance is kept. At least half of the
    positive importances are always kept: the knee cuts off what a model did not use, no more.

    Importances of correlated features are shared among them, and impurity-based importances favour
    features with many distinct values, so a low importance is no proof of a useless feature.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcyto.feature_selection import ImportanceThresholdSelector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(90, 4)) * [1, 1, 100, 1]
    >>> y = np.repeat(["healthy", "rubbish", "unhealthy"], 30)
    >>> X[y == "unhealthy", 1] += 3
    >>> ranker = make_pipeline(StandardScaler(), LogisticRegression())
    >>> selector = ImportanceThresholdSelector(ranker, threshold="mean").fit(X, y)
    >>> selector.get_support()
    array([False,  True, False, False])
    """

    _parameter_constraints = {
        "estimator": [HasMethods("fit")],
        "threshold": [Interval(Real, None, None, closed="both"), str],
        "importance_getter": [str, callable],
        "aggregate": [StrOptions({"mean", "max", "norm"})],
        "prefit": ["boolean"],
        "max_features": [Interval(Integral, 1, None, closed="left"), None],
        "allow_empty": ["boolean"],
        "one_vs_rest": ["boolean"],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        threshold: float | str = "knee",
        *,
        importance_getter: str | Callable[[Any], ArrayLike] = "auto",
        aggregate: str = "mean",
        prefit: bool = False,
        max_features: int | None = None,
        allow_empty: bool = False,
        one_vs_rest: bool = False,
    ) -> None:
        self.estimator = estimator
        self.threshold = threshold
        self.importance_getter = importance_getter
        self.aggregate = aggregate
        self.prefit = prefit
        self.max_features = max_features
        self.allow_empty = allow_empty
        self.one_vs_rest = one_vs_rest

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, **fit_params: Any
    ) -> ImportanceThresholdSelector:
        """Fit the model and choose the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, given to the model as it is.

        y : array-like of shape (n_samples,), default=None
            Target values.

        **fit_params : dict
            Given to the model's `fit`, as `sample_weight` is; for a pipeline `sample_weight` goes
            to its last step. With metadata routing enabled they are routed as the model requests.
            Not used with ``prefit=True``.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the model has no importances, if they are not those of the input features, or if
            no feature is kept and `allow_empty` is False.
        """
        # A threshold that is not understood is told before the model has taken its hours.
        resolve_threshold(np.ones(1), self.threshold)
        models = self._fitted_models(X, y, fit_params)
        validate_data(self, X=X, skip_check_array=True)
        self.importances_ = np.mean(
            [
                read_importances(model, self.importance_getter, self.aggregate, self.n_features_in_)
                for model in models
            ],
            axis=0,
        )
        self.threshold_ = resolve_threshold(self.importances_, self.threshold)
        self.support_ = self.importances_ > self.threshold_
        if self.max_features is not None:
            best = np.argsort(-self.importances_, kind="stable")[: self.max_features]
            self.support_ &= np.isin(np.arange(self.n_features_in_), best)
        if not self.support_.any() and not self.allow_empty:
            raise ValueError(
                f"no importance is above threshold={self.threshold!r} ({self.threshold_:.6g}); the "
                f"largest of {self.n_features_in_} feature(s) is {self.importances_.max():.6g} "
                f"(n_samples = {_num_samples(X)}). Lower the threshold, or set allow_empty=True"
            )
        return self

    def _fitted_models(self, X: Any, y: Any, fit_params: dict[str, Any]) -> list[Any]:
        if self.prefit:
            if self.one_vs_rest:
                raise ValueError("one_vs_rest=True fits its own models, so prefit must be False")
            check_is_fitted(self.estimator)
            self.estimator_ = deepcopy(self.estimator)
            return [self.estimator_]
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **fit_params).estimator.fit
        else:
            routed = dict(fit_params)
            if isinstance(self.estimator, Pipeline) and "sample_weight" in routed:
                last = self.estimator.steps[-1][0]
                routed[f"{last}__sample_weight"] = routed.pop("sample_weight")
        if not self.one_vs_rest:
            self.estimator_ = clone(self.estimator).fit(X, y, **routed)
            return [self.estimator_]
        check_classification_targets(y)
        y = column_or_1d(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"one_vs_rest=True needs at least two classes; y holds {len(classes)} class(es): "
                f"{classes.tolist()}"
            )
        # Of two classes, each is the other's rest: one model says it all.
        positives = classes if len(classes) > 2 else classes[1:]
        self.estimators_ = [
            clone(self.estimator).fit(X, (y == positive).astype(int), **routed)
            for positive in positives
        ]
        return self.estimators_

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        return self.support_

    def get_metadata_routing(self) -> MetadataRouter:
        """Tell how metadata are routed to the model.

        Returns
        -------
        routing : MetadataRouter
        """
        return MetadataRouter(owner=type(self).__name__).add(
            estimator=self.estimator,
            method_mapping=MethodMapping()
            .add(caller="fit", callee="fit")
            # scikit-learn 1.7 does not derive this one from `fit`.
            .add(caller="fit_transform", callee="fit"),
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        model_tags = get_tags(self.estimator)
        tags.input_tags.sparse = model_tags.input_tags.sparse
        tags.input_tags.allow_nan = model_tags.input_tags.allow_nan
        tags.target_tags.required = self.one_vs_rest or model_tags.target_tags.required
        return tags
