"""Explain the classifier at the end of a pipeline by Shapley values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.parallel import delayed

from skcyto.exceptions import AdditivityWarning
from skcyto.inspection._pipeline_features import (
    name_features,
    split_pipeline,
    transform_to_features,
    without_tuners,
)
from skcyto.inspection._shapley._background import choose_background
from skcyto.inspection._shapley._exact import exact_method, explain_exactly
from skcyto.inspection._shapley._explanation import Explanation
from skcyto.inspection._shapley._response import Response, choose_response_method
from skcyto.inspection._tables import TableEncoder
from skcyto.utils._parallel import WatchedParallel
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import draw_seed
from skcyto.utils._warnings import warn

# Deviation of the sum of a row's values from its output that rounding alone can cause.
_ADDITIVITY_TOLERANCE = 1e-6
_MAX_ROWS_A_TASK = 16


@validate_params(
    {
        "background": [Interval(Integral, 1, None, closed="left")],
        "background_method": [StrOptions({"stratified", "kmeans"})],
        "n_samples": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "l1_reg": [Interval(Real, 0, None, closed="left"), str],
        "level": [StrOptions({"features", "input"})],
        "method": [StrOptions({"kernel", "auto"})],
        "response_method": [StrOptions({"auto", "predict_proba", "decision_function"})],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "class_names": ["array-like", None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def explain(
    pipeline: Any,
    X: Any,
    *,
    background: int = 100,
    background_data: Any = None,
    background_method: str = "stratified",
    n_samples: int | str = "auto",
    l1_reg: float | str = 0,
    level: str = "features",
    method: str = "kernel",
    response_method: str = "auto",
    n_repeats: int = 1,
    class_names: Sequence[str] | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Explanation:
    """Explain the classifier at the end of a fitted pipeline by Shapley values.

    A feature's value for a row is its share in the difference between the classifier's output for
    this row and its mean output over the background. Absent features take their values from the
    background rows, so the explanation is about the model, not about causes in the world.

    Parameters
    ----------
    pipeline : estimator
        Fitted pipeline, search over one, or classifier; also inside a
        :class:`~skcyto.model_selection.TunedLogitBiasClassifierCV` or scikit-learn's
        :class:`~sklearn.model_selection.TunedThresholdClassifierCV` and
        :class:`~sklearn.model_selection.FixedThresholdClassifier`. Other meta-estimators count as
        classifiers, and the features that reach them are those explained.

    X : array-like, DataFrame or images
        Rows to explain, in the form that the pipeline takes.

    background : int, default=100
        Number of rows that stand in for absent features. Time and memory grow with it.

    background_data : array-like, DataFrame or images, default=None
        Where the background is drawn from, best the training data. None draws it from `X`.

    background_method : {"stratified", "kmeans"}, default="stratified"
        "stratified" draws rows in the proportions of the predicted classes. "kmeans" takes the
        rows next to the centres of as many clusters, weighted by the clusters' sizes.

    n_samples : int or "auto", default="auto"
        Number of coalitions of features that are evaluated for each row by Kernel SHAP; "auto" is
        shap's 2 n_features + 2048. Where there are no more coalitions than that, all are.

    l1_reg : float or str, default=0
        How shap preselects features for each row: 0 does not; a number is the penalty of a Lasso;
        "num_features(10)" (shap's default), "aic" and "bic" are shap's other ways. See Notes.

    level : {"features", "input"}, default="features"
        Whether to explain in terms of the features that reach the classifier, or of the columns
        that enter the pipeline.

    method : {"kernel", "auto"}, default="kernel"
        "auto" takes shap's exact explainers for linear models, trees and forests where they fit
        `response_method`, and Kernel SHAP otherwise: trees, for one, cannot be explained exactly
        with the weighted background of "kmeans". "kernel" is Kernel SHAP for all. The
        explanation's `method` says what was used.

    response_method : {"auto", "predict_proba", "decision_function"}, default="auto"
        Output that is explained. "auto" is the probabilities, else the margins; with
        ``method="auto"`` it is the output that the exact explainer knows.

    n_repeats : int, default=1
        Number of independent estimates, each with its own background and coalitions. Their mean
        is returned, and :meth:`Explanation.ranking_stability` tells how they differ.

    class_names : sequence of str, default=None
        Names of the classes in the order of ``classes_``, which are taken where None.

    random_state : int, RandomState or None, default=None
        Seed of the background and the coalitions. Each row has coalitions of its own, drawn from
        this seed whatever `n_jobs`; numpy's global generator stays as it is.

    n_jobs : int, default=None
        Number of rows that are explained in parallel, by joblib.

    verbose : int, default=0
        Show a progress bar when above 0.

    Returns
    -------
    explanation : Explanation

    Raises
    ------
    TypeError
        If the pipeline does not end in a classifier.
    ValueError
        If a parameter is not as described, or `n_samples` is too small to determine the values.

    Warns
    -----
    skcyto.exceptions.AdditivityWarning
        If base value and values of a row do not sum to the classifier's output.

    See Also
    --------
    Explanation : What is returned.
    sklearn.inspection.permutation_importance : Importance for a score instead of an output.

    Notes
    -----
    Kernel SHAP [1]_ estimates all values of a row by one weighted regression over coalitions of
    features. shap preselects features before it ("num_features(10)" by default): at most ten
    values of a row are then not zero, and what the others did is booked on these ten. With
    hundreds of correlated features, such as the tokens of a transformer, both the values and the
    ranking change by this, so ``l1_reg=0`` is the default here.

    Of a classifier whose decision is tuned, its own `predict_proba` or `decision_function` is
    explained, on which biases and thresholds have no influence. They matter only to the classes in
    whose proportions the background is drawn.

    Rows of which every feature equals the background's have zero values. Features that the
    background cannot vary have zero values too: take a background of several rows.

    References
    ----------
    .. [1] S. M. Lundberg and S.-I. Lee, "A Unified Approach to Interpreting Model Predictions",
       NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcyto.inspection import explain
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> explanation = explain(
    ...     pipeline, X[::10], background_data=X, background=20, random_state=0,
    ...     class_names=["setosa", "versicolor", "virginica"],
    ... )
    >>> explanation
    <Explanation of predict_proba: 15 samples, 4 features, classes setosa, versicolor, virginica>
    >>> explanation.global_importance("setosa", random_state=0).index[0]
    'petal length (cm)'
    """
    background, n_repeats = int(background), int(n_repeats)  # True is 1, as everywhere
    _check_l1_reg(l1_reg)
    steps, classifier = split_pipeline(pipeline)
    if level == "features":
        model, rows, names_of = classifier, transform_to_features(steps, X), steps
        source = rows if background_data is None else transform_to_features(steps, background_data)
    else:
        model, rows, names_of = pipeline, X, []
        _check_table(X)
        source = X if background_data is None else background_data
    feature_names = name_features(names_of, X, rows)

    encoder = TableEncoder(rows, source)
    rows, source = encoder.encode(rows), encoder.encode(source)
    # What tunes the decision alone leaves the outputs that are explained as they are.
    untuned = without_tuners(model)
    exact = None
    if method == "auto":
        weighted = background_method == "kmeans"
        exact = exact_method(untuned, encoder.decode(source), source, weighted=weighted)
    if exact is not None and response_method not in ("auto", exact[1]):
        exact = None
    response_method = choose_response_method(model, exact[1] if exact else response_method)
    if background_method == "kmeans" and encoder.is_categorical.any():
        raise ValueError(
            "background_method='kmeans' needs numbers, and some columns are categories: use "
            "'stratified'"
        )
    if exact is None:
        _check_n_samples(n_samples, l1_reg, rows.shape[1])
    predict = Response(model, response_method, encoder)
    outputs = predict(rows)
    names = _name_outputs(classifier, outputs.shape[1], class_names)

    labels = np.asarray(model.predict(encoder.decode(source)))
    rng = check_random_state(random_state)
    estimates: list[tuple[np.ndarray, np.ndarray]] = []
    with progress_bar(
        total=n_repeats * len(rows), desc="Explaining", unit="row", verbose=verbose
    ) as bar:
        kernel = _KernelMethod(predict, n_samples, l1_reg, n_jobs, bar)
        for _ in range(n_repeats):
            chosen, weights = choose_background(
                source, labels, background, background_method, draw_seed(rng)
            )
            seeds = rng.randint(np.iinfo(np.int32).max, size=len(rows))
            if exact is not None:
                estimate = explain_exactly(exact[0], untuned, rows, source[chosen], weights)
                bar.update(len(rows))
            else:
                estimate = kernel.explain(rows, source[chosen], weights, seeds)
            estimates.append((estimate, weights @ predict(source[chosen])))

    values, base_values = (np.mean(parts, axis=0) for parts in zip(*estimates, strict=True))
    return Explanation(
        values,
        base_values,
        rows,
        feature_names=feature_names,
        class_names=names,
        method="kernel" if exact is None else exact[0],
        response_method=response_method,
        additivity_error=_check_additivity(values, base_values, outputs),
        repeat_importances=np.stack([np.abs(estimate).mean(axis=0) for estimate, _ in estimates]),
    )


def _check_l1_reg(l1_reg: float | str) -> None:
    if isinstance(l1_reg, str) and not re.fullmatch(r"auto|aic|bic|num_features\(\d+\)", l1_reg):
        raise ValueError(
            f"l1_reg={l1_reg!r} must be a number or, as for shap, 'auto', 'aic', 'bic' or "
            "'num_features(10)'"
        )


@dataclass(frozen=True)
class _KernelMethod:
    """Kernel SHAP, and how it is run."""

    predict: Response
    n_samples: int | str
    l1_reg: float | str
    n_jobs: int | None
    bar: Any

    def explain(
        self, rows: np.ndarray, background: np.ndarray, weights: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        """Estimate the values of rows against a weighted background."""
        # Imported here, since shap takes seconds to load.
        from skcyto.inspection._shapley._kernel import ChunkedKernelExplainer

        explainer = ChunkedKernelExplainer(self.predict, background, weights)
        # Several rows a task: the model travels to another process with each.
        size = int(np.clip(len(rows) // (4 * effective_n_jobs(self.n_jobs)), 1, _MAX_ROWS_A_TASK))
        batches = list(gen_batches(len(rows), size))
        results = WatchedParallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(_explain_rows)(
                explainer, rows[batch], seeds[batch], self.n_samples, self.l1_reg
            )
            for batch in batches
        )
        values = []
        for result in results:
            values.append(result)
            self.bar.update(len(result))
        return np.concatenate(values)


def _explain_rows(
    explainer: Any, rows: np.ndarray, seeds: np.ndarray, n_samples: int | str, l1_reg: float | str
) -> np.ndarray:
    return np.stack(
        [
            explainer.explain_row(row, int(seed), n_samples=n_samples, l1_reg=l1_reg)
            for row, seed in zip(rows, seeds, strict=True)
        ]
    )


def _check_table(X: Any) -> None:
    if hasattr(X, "columns"):
        return
    if np.ndim(X) != 2 or np.asarray(X).dtype.kind in "US":
        raise ValueError(
            "level='input' explains by the columns of a table, and X is none: images are explained "
            "with level='features' and by TokenMapDisplay"
        )


def _check_n_samples(n_samples: int | str, l1_reg: float | str, n_features: int) -> None:
    # Coalitions come with their complements, which add no equation to the regression.
    enough = 2 * n_features if n_features > 30 else min(2 * n_features, 2**n_features - 2)
    if not l1_reg and not isinstance(n_samples, str) and n_samples < enough:
        raise ValueError(
            f"n_samples={n_samples} coalitions do not determine the values of {n_features} "
            f"features: take at least {enough}, better 'auto'"
        )


def _name_outputs(classifier: Any, n_outputs: int, class_names: Sequence[str] | None) -> list[str]:
    classes = list(classifier.classes_)
    names = [str(item) for item in (classes if class_names is None else class_names)]
    if len(names) != len(classes):
        raise ValueError(
            f"class_names has {len(names)} names for the {len(classes)} classes {classes}"
        )
    if n_outputs == 1 and len(names) == 2:
        return names[1:]
    if n_outputs != len(names):
        raise ValueError(
            f"{type(classifier).__name__} gives {n_outputs} outputs for {len(names)} classes; "
            "one a class is needed"
        )
    return names


def _check_additivity(values: np.ndarray, base_values: np.ndarray, outputs: np.ndarray) -> float:
    error = float(np.abs(base_values + values.sum(axis=1) - outputs).max())
    scale = max(1.0, float(np.abs(outputs).max()))
    if not error <= _ADDITIVITY_TOLERANCE * scale:
        warn(
            f"base value and Shapley values do not sum to the classifier's output: they differ by "
            f"up to {error:.2g}. Is its prediction random, or dependent on the other rows of a "
            "batch? A large l1_reg may leave no feature, too; and exact explainers can fail on a "
            "model: compare method='kernel'",
            AdditivityWarning,
        )
    return error
