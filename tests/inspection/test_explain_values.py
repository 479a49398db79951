"""Shapley values against their definition and against exact explainers."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skcyto.inspection import explain
from skcyto.inspection._shapley._background import choose_background
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.utils._random import draw_seed


def test_kernel_shap_equals_the_definition(three_classes, network, exact_shapley):
    X, _ = three_classes
    background, rows = X[:20], X[50:56]
    explanation = explain(network, rows, background_data=background, random_state=0)
    exact = np.stack([exact_shapley(network.predict_proba, x, background) for x in rows])
    assert explanation.values.shape == (6, 10, 3)
    assert np.corrcoef(exact.ravel(), explanation.values.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(explanation.values, exact, atol=1e-7)
    total = explanation.base_values + explanation.values.sum(axis=1)
    np.testing.assert_allclose(total, network.predict_proba(rows), atol=1e-6)
    assert explanation.additivity_error < 1e-6


def test_sampled_coalitions_come_close(three_classes, network, exact_shapley):
    X, _ = three_classes
    background, rows = X[:20], X[50:56]
    explanation = explain(network, rows, background_data=background, n_samples=400, random_state=0)
    exact = np.stack([exact_shapley(network.predict_proba, x, background) for x in rows])
    assert np.corrcoef(exact.ravel(), explanation.values.ravel())[0, 1] > 0.999
    assert explanation.additivity_error < 1e-6


def test_kmeans_background_is_weighted(three_classes, network, exact_shapley):
    X, _ = three_classes
    explanation = explain(
        network,
        X[50:52],
        background=8,
        background_data=X[:50],
        background_method="kmeans",
        random_state=0,
    )
    chosen, weights = choose_background(X[:50], network.predict(X[:50]), 8, "kmeans", draw_seed(0))
    assert np.ptp(weights) > 0
    exact = [exact_shapley(network.predict_proba, x, X[chosen], weights) for x in X[50:52]]
    np.testing.assert_allclose(explanation.values, exact, atol=1e-7)
    np.testing.assert_allclose(
        explanation.base_values, weights @ network.predict_proba(X[chosen]), atol=1e-12
    )
    assert explanation.additivity_error < 1e-6


def test_kernel_shap_equals_shaps_linear_explainer_on_768_features():
    X, y = make_classification(
        300, 768, n_informative=40, n_redundant=100, n_classes=3, random_state=0
    )
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5).fit(X, y)
    common = {"background": 20, "background_data": X[:100], "random_state": 3}
    kernel = explain(model, X[200:202], response_method="decision_function", **common)
    exact = explain(model, X[200:202], method="auto", **common)
    assert (kernel.method, exact.method) == ("kernel", "linear")
    assert np.corrcoef(kernel.values.ravel(), exact.values.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(kernel.values, exact.values, atol=1e-8)
    # No feature is preselected: far more than shap's ten are not zero.
    assert (np.count_nonzero(kernel.values[:, :, 0], axis=1) > 700).all()


def test_l1_reg_of_shap_keeps_ten_features(three_classes):
    X, y = make_classification(200, 40, n_informative=20, random_state=0)
    model = LogisticRegression(max_iter=200).fit(X, y)
    explanation = explain(
        model, X[:2], background=10, l1_reg="num_features(10)", n_samples=600, random_state=0
    )
    assert (np.count_nonzero(explanation.values[:, :, 0], axis=1) <= 10).all()


@pytest.mark.parametrize(
    ("model", "method", "response_method"),
    [
        (LogisticRegression(max_iter=500), "linear", "decision_function"),
        (LinearSVC(), "linear", "decision_function"),
        (RidgeClassifier(), "linear", "decision_function"),
        (DecisionTreeClassifier(random_state=0), "tree", "predict_proba"),
        (RandomForestClassifier(15, random_state=0), "tree", "predict_proba"),
        (ExtraTreesClassifier(15, random_state=0), "tree", "predict_proba"),
        (HistGradientBoostingClassifier(max_iter=5), "kernel", "predict_proba"),
        (SVC(kernel="linear", decision_function_shape="ovr"), "kernel", "decision_function"),
    ],
    ids=lambda item: type(item).__name__,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_exact_explainers_agree_with_kernel_shap(
    three_classes, model, method, response_method, n_classes
):
    X, y = three_classes
    model.fit(X, y > 0 if n_classes == 2 else y)
    if isinstance(model, SVC) and n_classes == 2:
        method = "linear"  # between two classes its coefficients are the margin's
    common = {"background": 15, "background_data": X[:50], "random_state": 0}
    exact = explain(model, X[60:63], method="auto", **common)
    kernel = explain(model, X[60:63], response_method=response_method, **common)
    assert (exact.method, exact.response_method) == (method, response_method)
    np.testing.assert_allclose(exact.values, kernel.values, atol=1e-6)
    np.testing.assert_allclose(exact.base_values, kernel.base_values)
    assert exact.additivity_error < 1e-6


def test_boosted_trees_are_exact_between_two_classes(three_classes):
    X, y = three_classes
    model = GradientBoostingClassifier(n_estimators=10, random_state=0).fit(X, y > 0)
    common = {"background": 15, "random_state": 0}
    exact = explain(model, X[60:63], method="auto", **common)
    kernel = explain(model, X[60:63], response_method="decision_function", **common)
    assert exact.method == "tree"
    np.testing.assert_allclose(exact.values, kernel.values, atol=1e-6)
    assert explain(model.fit(X, y), X[:1], method="auto", background_data=X[:9]).method == "kernel"


def test_auto_keeps_the_wanted_output(three_classes):
    X, y = three_classes
    model = LogisticRegression(max_iter=500).fit(X, y)
    explanation = explain(
        model, X[:1], method="auto", response_method="predict_proba", background_data=X[:9]
    )
    assert (explanation.method, explanation.response_method) == ("kernel", "predict_proba")


@pytest.mark.parametrize("seed", range(5))
def test_planted_feature_comes_first(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 25))
    planted = rng.integers(25)
    y = np.where(X[:, planted] > 0, "unhealthy", "healthy")
    pipeline = make_pipeline(
        StandardScaler(),
        SelectKBest(k=15),
        ImbalancedMLPClassifier((32,), max_epochs=20, random_state=seed),
    ).fit(X[:300], y[:300])
    explanation = explain(
        pipeline, X[300:310], background_data=X[:300], background=30, random_state=seed
    )
    importance = explanation.global_importance(random_state=seed)
    assert importance.index[0] == f"x{planted}"
    # Its interval lies clear above every other's: no chance finding.
    assert importance["ci_low"].iloc[0] > importance["ci_high"].iloc[1:].max()


def test_shuffled_labels_leave_importances_within_noise():
    """The first feature under shuffled labels is no more than the luckiest of equals."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 12))
    y = rng.permutation(np.repeat([0, 1], 200))
    tables = []
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(400)
        train, test = rows[:300], rows[300:320]
        model = ImbalancedMLPClassifier((16,), max_epochs=15, random_state=seed)
        explanation = explain(
            model.fit(X[train], y[train]),
            X[test],
            background_data=X[train],
            background=20,
            random_state=seed,
        )
        tables.append(explanation.global_importance(random_state=0).sort_index())
    importances = np.stack([table["importance"] for table in tables])
    # Features differ from each other by no more than one feature differs between trainings.
    between_features = importances.mean(axis=0).std(ddof=1)
    between_seeds = importances.std(axis=0, ddof=1).mean()
    assert between_features < 2 * between_seeds / np.sqrt(4)
    assert importances.max() < 5 * importances.mean()
