"""Tune the decision of a classifier of any number of classes, after training."""

from __future__ import annotations

import inspect
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, assert_all_finite, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import delayed
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
    indexable,
)

from skcyto.metrics import get_scorer, get_scorer_names
from skcyto.metrics._class_dependence import (
    adapt_scorer,
    is_of_labels,
    needs_every_class,
    positive_class,
)
from skcyto.metrics._counts import SCORES_OF_COUNTS
from skcyto.model_selection._groups import hand_groups_on
from skcyto.model_selection._inner_folds import check_grouped_folds
from skcyto.model_selection._logit_bias._ascent import (
    CountObjective,
    Objective,
    ScorerObjective,
    climb,
    highest,
)
from skcyto.model_selection._logit_bias._folds import (
    Fold,
    class_scores,
    collect_folds,
    draw_folds,
    fit_and_score,
    fit_on,
    in_columns,
    pool_rounds,
    take,
)
from skcyto.utils._parallel import WatchedParallel


def _delegates(method: str) -> Any:
    """Have a method when the fitted estimator, or the one to be fitted, has it."""
    return available_if(lambda self: hasattr(getattr(self, "estimator_", self.estimator), method))


class TunedLogitBiasClassifierCV(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Classifier whose decision is tuned by one bias a class, using cross-validation.

    The counterpart, for any number of classes, of scikit-learn's
    :class:`~sklearn.model_selection.TunedThresholdClassifierCV`, which is for two. The
    classifier predicts :math:`\arg\max_c \log p_c + b_c`; the biases *b* are those that score
    best on rows that the models of a cross-validation have not seen. What the underlying
    classifier says about probabilities is left alone: only decisions change.

    Parameters
    ----------
    estimator : estimator instance
        The classifier, fitted or not, with `predict_proba` or `decision_function`.

    scoring : str or callable, default="f1_macro"
        The score to maximise, computed from predicted labels: a name that
        :func:`skcyto.metrics.get_scorer` knows, scikit-learn's or skcyto's own, or a callable
        ``scorer(estimator, X, y)``.

    response_method : {"auto", "predict_proba", "decision_function"}, default="auto"
        Where the scores of the classes come from. "auto" takes logarithms of `predict_proba`, or
        `decision_function` where there is none.

    n_candidates : int, default=100
        About how many biases of one class to try at a time. They lie between the values at which
        predictions of the scored rows change, half of those of the class's own rows; with fewer
        such values all are tried.

    cv : int, float, cross-validation generator, iterable or "prefit", default=5
        How the rows to score are split off:

        * an integer, number of stratified folds; None is 5;
        * a float in (0, 1), share of rows in a single stratified split;
        * a cross-validation generator or an iterable of train and test positions;
        * "prefit", to score all rows given to :meth:`fit` with `estimator` as it is. Those must
          be other rows than it was fitted on. Needs ``refit=False``.

    refit : bool, default=True
        Fit the classifier to all rows once the biases are found. False needs a single split or
        "prefit".

    n_jobs : int, default=None
        Number of folds fitted at a time; results don't depend on it.

    random_state : int, RandomState instance or None, default=None
        Controls the split when `cv` is a float.

    store_cv_results : bool, default=False
        Keep the biases and scores that the search went through.

    pos_label : label, default=None
        The positive one of two classes, for scores such as "f1" and "recall". None takes the rarer
        one, the second of equally many.

    Attributes
    ----------
    estimator_ : estimator instance
        The fitted classifier used when predicting.

    best_bias_ : ndarray of shape (n_classes,)
        Bias of each class, in the order of `classes_`. They sum to zero: adding the same number
        to all changes no decision. With two classes, the second is predicted where the logarithm
        of its odds exceeds ``best_bias_[0] - best_bias_[1]``.

    best_score_ : float
        Mean over the folds of the score with these biases; of the pooled predictions of each round
        where folds lack a class that the score needs, as macro F1 does. Never below
        `unbiased_score_`, and optimistic as every score that was maximised is.

    unbiased_score_ : float
        The same with all biases zero.

    cv_results_ : dict
        Only with ``store_cv_results=True``. "start": from where the step came, "zero" or "prior";
        "biases": array of shape (n_steps, n_classes); "scores": array of shape (n_steps,).

    classes_ : ndarray of shape (n_classes,)
        The class labels.

    n_features_in_ : int
        Number of features seen during :term:`fit`, where the classifier knows it.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, where the classifier knows them.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : For two classes.
    sklearn.calibration.CalibratedClassifierCV : Better probabilities; it leaves decisions almost
        alone.
    skcyto.losses.LogitAdjusted : Biases during training instead.

    Notes
    -----
    The search is coordinate ascent: the bias of one class after the other goes where the mean
    score of the folds is highest, until none moves. It starts twice, from zero and from
    :math:`-\log\pi` with the class shares :math:`\pi` (the decision that treats all classes
    alike), and the better end wins, zero in a tie.

    Probabilities below the precision of their dtype are raised to it, as in
    :func:`sklearn.metrics.log_loss`.

    "f1_macro", "f1_weighted", "average_f1", "balanced_accuracy", "accuracy",
    "matthews_corrcoef", "precision_macro" and "recall_macro", given by name, are computed for all
    candidates at once. Any other score costs one call of the scorer for each candidate and fold,
    thousands in all: lower `n_candidates` where the score is slow.

    References
    ----------
    .. [1] Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 4.1.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.metrics import f1_score
    >>> from sklearn.model_selection import train_test_split
    >>> from skcyto.model_selection import TunedLogitBiasClassifierCV
    >>> X, y = make_classification(
    ...     n_samples=2000, n_informative=6, n_classes=3, weights=[0.85, 0.1], class_sep=0.7,
    ...     random_state=0,
    ... )
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> plain = LogisticRegression().fit(X_train, y_train)
    >>> tuned = TunedLogitBiasClassifierCV(LogisticRegression()).fit(X_train, y_train)
    >>> tuned.best_bias_.round(1)
    array([-0.7,  0.2,  0.5])
    >>> [
    ...     round(f1_score(y_test, model.predict(X_test), average="macro"), 2)
    ...     for model in (plain, tuned)
    ... ]
    [0.44, 0.53]
    """

    _parameter_constraints: dict = {
        "estimator": [
            HasMethods(["fit", "predict_proba"]),
            HasMethods(["fit", "decision_function"]),
        ],
        "scoring": [StrOptions(set(get_scorer_names())), callable],
        "response_method": [StrOptions({"auto", "predict_proba", "decision_function"})],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "cv": [
            "cv_object",
            StrOptions({"prefit"}),
            Interval(RealNotInt, 0.0, 1.0, closed="neither"),
        ],
        "refit": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "store_cv_results": ["boolean"],
    }

    # Its presence tells that `groups` reach the classifier too.
    _hands_groups_on = True

    # Sample weights are passed on, as a router does; this class asks for none itself.
    __metadata_request__fit = {"sample_weight": UNUSED}

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: Any = "f1_macro",
        response_method: str = "auto",
        n_candidates: int = 100,
        cv: Any = 5,
        refit: bool = True,
        n_jobs: int | None = None,
        random_state: Any = None,
        store_cv_results: bool = False,
        pos_label: Any = None,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.response_method = response_method
        self.n_candidates = n_candidates
        self.cv = cv
        self.refit = refit
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.store_cv_results = store_cv_results
        self.pos_label = pos_label

    # estimator is not validated yet
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Any, y: ArrayLike, *, sample_weight: ArrayLike | None = None, **params: Any
    ) -> TunedLogitBiasClassifierCV:
        """Fit the classifier and tune the biases.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; anything that can be indexed by rows and that the classifier takes.

        y : array-like of shape (n_samples,)
            Class labels, two or more.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the classifier's `fit` and for the score.

        **params : dict
            `groups` go to the splitter, and to the classifier and the steps of a pipeline whose
            `fit` names them; all else goes to the classifier's `fit`. With metadata routing
            enabled, everything goes to what asks for it.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If `refit` doesn't go with `cv`, or the score needs more than labels.
        """
        X, y = indexable(X, y)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        if self.refit and isinstance(self.cv, str):
            raise ValueError("cv='prefit' fits nothing: set refit=False")
        classes, codes = np.unique(y, return_inverse=True)
        scorer = adapt_scorer(
            check_scoring(self.estimator, scoring=get_scorer(self.scoring)),
            classes,
            positive_class(classes, codes, self.pos_label),
        )
        routed = self._route(scorer, sample_weight, params)
        splits = draw_folds(self, X, y, routed.splitter.split)
        if splits is None:
            self.estimator_ = self.estimator
            try:
                check_is_fitted(self.estimator_)
            except NotFittedError as error:
                raise NotFittedError("cv='prefit' needs an estimator that is fitted") from error
        else:
            train = None if self.refit else splits[0][0]
            self.estimator_ = fit_on(self.estimator, X, y, train, routed.estimator.fit)
        for attribute in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, attribute):
                setattr(self, attribute, getattr(self.estimator_, attribute))
        folds, classes = self._score_folds(X, y, splits, routed, scorer)
        self._tune(folds, classes, scorer, splits)
        return self

    def _route(self, scorer: Any, sample_weight: Any, params: dict[str, Any]) -> Bunch:
        """Sort metadata by who takes them."""
        if get_config()["enable_metadata_routing"]:
            if sample_weight is not None:
                params = {**params, "sample_weight": sample_weight}
            return process_routing(self, "fit", **params)
        params = dict(params)
        groups = params.pop("groups", None)
        splitter = {"groups": groups}
        if groups is not None:
            check_grouped_folds(self.estimator, fixable=False)
        params = hand_groups_on(self.estimator, groups) | params
        score = {}
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
            if "sample_weight" in inspect.signature(scorer).parameters:
                score["sample_weight"] = sample_weight
        return Bunch(
            estimator=Bunch(fit=params), splitter=Bunch(split=splitter), scorer=Bunch(score=score)
        )

    def _score_folds(
        self,
        X: Any,
        y: Any,
        splits: list[tuple[NDArray, NDArray]] | None,
        routed: Bunch,
        scorer: Any,
    ) -> tuple[list[Fold], NDArray]:
        """Score the rows that each fold's model has not seen; classes in columns."""
        if splits is None or not self.refit:
            held_out = [None if splits is None else splits[0][1]]
            answers = [class_scores(self.estimator_, take(X, held_out[0]), self.response_method)]
        else:
            held_out = [test for _, test in splits]
            answers = WatchedParallel(n_jobs=self.n_jobs)(
                delayed(fit_and_score)(
                    self.estimator, X, y, train, test, routed.estimator.fit, self.response_method
                )
                for train, test in splits
            )
        labels = [np.asarray(take(y, test)) for test in held_out]
        classes = np.unique(np.concatenate([self.estimator_.classes_, *labels]))
        filled = [in_columns(classes, scores, fold_classes) for scores, fold_classes in answers]
        if splits is not None and needs_every_class(scorer) and is_of_labels(scorer):
            held_out, labels, filled = pool_rounds(splits, labels, filled, len(y), len(classes))
        parts = zip(held_out, labels, filled, strict=True)
        return collect_folds(X, parts, classes, routed.scorer.score), classes

    def _tune(
        self,
        folds: list[Fold],
        classes: NDArray,
        scorer: Any,
        splits: list[tuple[NDArray, NDArray]] | None,
    ) -> None:
        """Search for the biases."""
        by_counts = isinstance(self.scoring, str) and self.scoring in SCORES_OF_COUNTS
        objective: Objective = (
            CountObjective(folds, str(self.scoring))
            if by_counts
            else ScorerObjective(folds, classes, scorer)
        )
        paths = climb(objective, folds, len(classes), self.n_candidates)
        self.unbiased_score_ = paths["zero"][0][1]
        end = highest(paths)
        known = np.searchsorted(classes, self.estimator_.classes_)
        bias, self.best_score_ = paths[end][-1]
        self.best_bias_ = bias[known] - bias[known].mean()
        if self.store_cv_results:
            steps = [(name, *step) for name, path in paths.items() for step in path]
            self.cv_results_ = {
                "start": np.array([name for name, _, _ in steps]),
                "biases": np.array([b[known] - b[known].mean() for _, b, _ in steps]),
                "scores": np.array([score for _, _, score in steps]),
            }

    @property
    def classes_(self) -> NDArray:
        """Class labels."""
        return self.estimator_.classes_

    def predict(self, X: Any) -> NDArray:
        """Predict the class with the highest biased score.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples, as the classifier takes them.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels.
        """
        check_is_fitted(self, "estimator_")
        scores, classes = class_scores(self.estimator_, X, self.response_method)
        return classes[(scores + self.best_bias_).argmax(axis=1)]

    @_delegates("predict_proba")
    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Predict class probabilities with the fitted classifier; the biases play no part.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples, as the classifier takes them.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_proba(X)

    @_delegates("predict_log_proba")
    def predict_log_proba(self, X: Any) -> NDArray[np.floating]:
        """Predict logarithms of class probabilities with the fitted classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples, as the classifier takes them.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Logarithms of probabilities, without the biases.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_log_proba(X)

    @_delegates("decision_function")
    def decision_function(self, X: Any) -> NDArray[np.floating]:
        """Compute the decision function of the fitted classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples, as the classifier takes them.

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Scores of the classifier, without the biases.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.decision_function(X)

    def get_metadata_routing(self) -> MetadataRouter:
        """Get metadata routing of this object.

        Returns
        -------
        routing : MetadataRouter
            What goes to the classifier, the splitter and the scorer.
        """
        return (
            MetadataRouter(owner=self)
            .add(
                estimator=self.estimator,
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
            .add(
                splitter=self.cv,
                method_mapping=MethodMapping().add(caller="fit", callee="split"),
            )
            .add(
                scorer=check_scoring(self.estimator, scoring=get_scorer(self.scoring)),
                method_mapping=MethodMapping().add(caller="fit", callee="score"),
            )
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags
