"""What explain takes, keeps quiet about, and refuses."""

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skcyto.exceptions import AdditivityWarning
from skcyto.feature_selection import ImportanceThresholdSelector
from skcyto.inspection import explain
from skcyto.inspection._pipeline_features import split_pipeline
from skcyto.model_selection import TunedLogitBiasClassifierCV


@pytest.fixture(scope="module")
def frame(three_classes):
    X, y = three_classes
    return pd.DataFrame(X, columns=[f"gene {i}" for i in range(10)]), y


def test_names_are_carried_through_selection(frame):
    X, y = frame
    selector = ImportanceThresholdSelector(LogisticRegression(max_iter=500), "mean")
    pipeline = make_pipeline(StandardScaler(), selector, LogisticRegression(max_iter=500)).fit(X, y)
    explanation = explain(pipeline, X[:3], background=10, random_state=0)
    kept = [f"gene {i}" for i in np.flatnonzero(pipeline[1].get_support())]
    assert explanation.feature_names == kept
    assert explanation.class_names == ["0", "1", "2"]
    # The data are what reaches the classifier.
    np.testing.assert_allclose(explanation.data, pipeline[:-1].transform(X[:3]))


def test_input_level_explains_the_whole_pipeline(frame, exact_shapley):
    X, y = frame
    pipeline = make_pipeline(
        StandardScaler(), PCA(3, random_state=0), LogisticRegression(max_iter=500)
    ).fit(X, y)
    explanation = explain(pipeline, X[50:52], background_data=X[:10], level="input", random_state=0)
    assert explanation.feature_names == list(X.columns)

    def predict(rows):
        return pipeline.predict_proba(pd.DataFrame(rows, columns=X.columns))

    exact = exact_shapley(predict, X.to_numpy()[50], X.to_numpy()[:10])
    np.testing.assert_allclose(explanation.values[0], exact, atol=1e-9)
    features = explain(pipeline, X[50:52], background_data=X[:10], random_state=0)
    assert features.feature_names == ["pca0", "pca1", "pca2"]
    np.testing.assert_allclose(features.values.sum(axis=1), explanation.values.sum(axis=1))


def test_mixed_table_keeps_types_and_missing_values():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "age": rng.integers(20, 80, 60),
            "sex": rng.choice(["f", "m"], 60),
            "stain": pd.Categorical(rng.choice(["a", "b", "c"], 60)),
            "smoker": rng.random(60) > 0.5,
            "area": rng.normal(size=60),
            "count": pd.array(rng.integers(0, 9, 60), dtype="Int64"),
        }
    )
    X.loc[3, "sex"] = None
    y = (X["age"] > 50) & X["smoker"]
    seen = []

    def remember(table):
        seen.append(table.dtypes)
        return table

    pipeline = make_pipeline(
        FunctionTransformer(remember),
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["sex", "stain"]), remainder="passthrough"
        ),
        RandomForestClassifier(10, random_state=0),
    ).fit(X, y)
    explanation = explain(pipeline, X[:5], background_data=X, background=20, level="input")
    assert explanation.feature_names == list(X.columns)
    assert all((dtypes == X.dtypes).all() for dtypes in seen)
    assert explanation.additivity_error < 1e-6
    with pytest.raises(ValueError, match="stratified"):
        explain(
            pipeline, X[:5], background_data=X, background=20, level="input",
            background_method="kmeans",
        )  # fmt: skip


def test_other_containers_give_the_same(frame):
    X, y = frame
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    pipeline.set_output(transform="pandas").fit(X, y)
    expected = explain(pipeline, X[:3], background=3, random_state=0).values
    from_polars = explain(pipeline, pl.from_pandas(X[:3]), background=3, random_state=0)
    np.testing.assert_allclose(from_polars.values, expected)
    pipeline.set_output(transform="polars").fit(X, y)
    polars_inside = explain(pipeline, X[:3], background=3, random_state=0)
    np.testing.assert_allclose(polars_inside.values, expected)
    assert polars_inside.feature_names == list(X.columns)


def test_searches_and_resampling_pipelines_are_looked_through(three_classes):
    X, y = three_classes
    inner = make_imblearn_pipeline(
        StandardScaler(), RandomOverSampler(random_state=0), SelectKBest(k=4),
        LogisticRegression(max_iter=500),
    )  # fmt: skip
    search = GridSearchCV(inner, {"logisticregression__C": [0.1, 1]}, cv=2).fit(X, y)
    explanation = explain(search, X[:3], background=3, random_state=0)
    expected = [f"x{i}" for i in np.flatnonzero(search.best_estimator_[2].get_support())]
    assert explanation.feature_names == expected


TUNERS = {
    "bias": lambda model: TunedLogitBiasClassifierCV(model, cv=2),
    "tuned": lambda model: TunedThresholdClassifierCV(model, cv=2),
    "fixed": lambda model: FixedThresholdClassifier(model, threshold=0.8),
}


@pytest.mark.parametrize("tune", TUNERS.values(), ids=TUNERS)
def test_tuned_decisions_are_looked_through(frame, tune):
    X, y = frame
    y = (y == 0).astype(int)
    pipeline = make_pipeline(StandardScaler(), SelectKBest(k=4), LogisticRegression(max_iter=500))
    tuned = tune(pipeline).fit(X, y)
    pipeline.fit(X, y)
    params = {"background_data": X, "background": 10, "background_method": "kmeans"}
    explanation = explain(tuned, X[:3], random_state=0, **params)
    assert explanation.feature_names == list(pipeline[:-1].get_feature_names_out())
    # Thresholds and biases change decisions alone.
    expected = explain(pipeline, X[:3], random_state=0, **params)
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-12)
    np.testing.assert_allclose(
        explanation.base_values + explanation.values.sum(axis=1), tuned.predict_proba(X[:3])
    )
    exact = explain(tuned, X[:3], method="auto", random_state=0, **params)
    assert exact.method == "linear"
    outer = make_pipeline(StandardScaler(), GridSearchCV(tune(pipeline), {}, cv=2)).fit(X, y)
    nested = explain(outer, X[:3], random_state=0, **params)
    assert nested.feature_names == explanation.feature_names


@pytest.mark.parametrize("tune", TUNERS.values(), ids=TUNERS)
def test_tuned_decisions_stay_those_of_the_tuner(frame, tune):
    X, y = frame
    y = (y == 0).astype(int)
    tuned = tune(make_pipeline(StandardScaler(), LogisticRegression(C=0.01))).fit(X, y)
    steps, classifier = split_pipeline(tuned)
    assert [name for name, _ in steps] == ["standardscaler"]
    features = tuned.estimator_[:-1].transform(X)
    np.testing.assert_array_equal(classifier.predict(features), tuned.predict(X))
    assert (tuned.predict(X) != tuned.estimator_.predict(X)).any()
    assert classifier.n_features_in_ == 10
    assert hasattr(tuned, "feature_names_in_")  # the user's own stays as it was
    assert not hasattr(classifier, "feature_names_in_")
    with pytest.raises(NotFittedError):
        explain(tune(LogisticRegression()), X[:2])


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(max_depth=4, random_state=0),
        RandomForestClassifier(5, random_state=0),
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        LogisticRegression(max_iter=500),
    ],
    ids=lambda model: type(model).__name__,
)
def test_automatic_method_with_a_weighted_background(three_classes, model):
    X, y = three_classes
    model = model.fit(X, y > 0)
    params = {"background_data": X, "background": 5, "background_method": "kmeans"}
    chosen = explain(model, X[:3], method="auto", random_state=0, **params)
    linear = isinstance(model, LogisticRegression)
    assert chosen.method == ("linear" if linear else "kernel")
    if not linear:
        kernel = explain(model, X[:3], random_state=0, **params)
        np.testing.assert_array_equal(chosen.values, kernel.values)
        assert chosen.response_method == "predict_proba"
        plain = explain(model, X[:3], method="auto", background=5, background_data=X)
        assert plain.method == "tree"


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_same_values_whatever_n_jobs(three_classes, backend):
    X, y = three_classes
    model = LogisticRegression(max_iter=500).fit(X, y)
    common = {"background": 10, "n_samples": 100, "random_state": 3}
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    one = explain(model, X[:12], **common)
    with joblib.parallel_config(backend=backend):
        two = explain(model, X[:12], n_jobs=2, **common)
    np.testing.assert_allclose(two.values, one.values, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    other = explain(model, X[:12], **{**common, "random_state": 4})
    assert np.abs(other.values - one.values).max() > 1e-6


def test_global_generator_survives_an_error(three_classes):
    X, y = three_classes

    class Failing(LogisticRegression):
        def predict_proba(self, X):
            if len(X) > 60:
                raise RuntimeError("out of memory")
            return super().predict_proba(X)

    model = Failing(max_iter=500).fit(X, y)
    state = np.random.get_state()[1].copy()
    for _ in range(2):  # the second time, too: nothing stays locked
        with pytest.raises(RuntimeError, match="out of memory"):
            explain(
                model, X[:3], background=50, background_data=X[:50], n_samples=30, random_state=0
            )
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_large_background_and_progress_are_quiet_unless_asked(three_classes, network, capfd):
    X, _ = three_classes
    explain(network, X[:1], background_data=X, background=150, n_samples=30, random_state=0)
    assert capfd.readouterr() == ("", "")
    explain(network, X[:2], background=2, n_samples=30, random_state=0, verbose=1)
    assert "2/2" in capfd.readouterr().err


def test_background_follows_the_predicted_classes(three_classes):
    from skcyto.inspection._shapley._background import choose_background

    X, _ = three_classes
    labels = np.repeat(["a", "b", "c"], [300, 90, 10])
    chosen, weights = choose_background(X, labels, 40, "stratified", 0)
    assert len(np.unique(chosen)) == 40
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == [30, 9, 1]
    np.testing.assert_allclose(weights, 1 / 40)
    chosen, weights = choose_background(X, labels, 40, "kmeans", 0)
    assert len(chosen) <= 40
    assert weights.sum() == pytest.approx(1)
    assert np.ptp(weights) > 0
    chosen, _ = choose_background(X, labels, 400, "kmeans", 0)
    np.testing.assert_array_equal(chosen, np.arange(400))
    # Fewer distinct rows than clusters.
    chosen, weights = choose_background(np.repeat(X[:5], 20, axis=0), labels[:100], 9, "kmeans", 0)
    assert weights.sum() == pytest.approx(1)


def test_class_names_and_binary_margins(three_classes):
    X, y = three_classes
    model = LogisticRegression(max_iter=500).fit(X, y > 0)
    both = explain(model, X[:2], background=2, class_names=["healthy", "unhealthy"])
    assert both.class_names == ["healthy", "unhealthy"]
    np.testing.assert_allclose(both.values[:, :, 0], -both.values[:, :, 1])
    margin = explain(
        model, X[:2], background=2, class_names=["healthy", "unhealthy"],
        response_method="decision_function",
    )  # fmt: skip
    assert margin.class_names == ["unhealthy"]


def test_constant_features_get_nothing(three_classes):
    X, y = three_classes
    X = np.hstack([X, np.ones((len(X), 2))])
    X[:, 1] = np.nan_to_num(X[:, 1])
    model = LogisticRegression(max_iter=500).fit(X, y)
    values = explain(model, X[:2], background=10, random_state=0).values
    assert (values[:, 10:] == 0).all()
    # Nothing at all varies: the row is its own background.
    alone = explain(model, X[:1], background=1)
    assert (alone.values == 0).all()


class RandomClassifier(ClassifierMixin, BaseEstimator):
    """Says something else every time."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.rng_ = np.random.default_rng(0)
        return self

    def predict_proba(self, X):
        p = self.rng_.random(len(X))
        return np.column_stack([p, 1 - p])

    def predict(self, X):
        return self.classes_[np.zeros(len(X), dtype=int)]


def test_violated_additivity_is_told(three_classes):
    X, y = three_classes
    model = RandomClassifier().fit(X, y > 0)
    with pytest.warns(AdditivityWarning, match="do not sum"):
        explanation = explain(model, X[:2], background=3, random_state=0)
    assert explanation.additivity_error > 1e-3
    regular = LogisticRegression(max_iter=500).fit(X, y)
    with pytest.warns(AdditivityWarning, match="l1_reg"):
        explain(regular, X[:2], background=3, l1_reg=100.0, random_state=0)


def test_repeats_are_averaged_and_compared(three_classes, network):
    X, _ = three_classes
    explanation = explain(network, X[:4], background=20, background_data=X, n_repeats=3,
                          n_samples=100, random_state=0)  # fmt: skip
    assert explanation.repeat_importances.shape == (3, 10, 3)
    assert explanation.additivity_error < 1e-6
    single = explain(network, X[:4], background=20, background_data=X, n_samples=100,
                     random_state=0)  # fmt: skip
    np.testing.assert_allclose(
        explanation.repeat_importances[0], np.abs(single.values).mean(axis=0), atol=1e-12
    )


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"n_samples": 12}, ValueError, "do not determine the values of 10 features"),
        ({"background": 0}, ValueError, "background"),
        ({"level": "output"}, ValueError, "level"),
        ({"method": "tree"}, ValueError, "method"),
        ({"class_names": ["a", "b"]}, ValueError, "2 names for the 3 classes"),
        ({"background_data": np.ones((5, 3))}, ValueError, "features"),
        ({"l1_reg": "lasso"}, ValueError, r"l1_reg='lasso' must be a number or, as for shap"),
    ],
)
def test_bad_parameters(three_classes, network, params, error, match):
    X, _ = three_classes
    with pytest.raises(error, match=match):
        explain(network, X[:2], **params)


def test_bad_estimators(three_classes):
    X, y = three_classes
    with pytest.raises(TypeError, match="classifier"):
        explain(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X[:2])
    for thing in (RandomForestClassifier, "forest"):
        with pytest.raises(TypeError, match="must be a fitted classifier or a pipeline that ends"):
            explain(thing, X[:2])
    with pytest.raises(NotFittedError):
        explain(make_pipeline(StandardScaler(), LogisticRegression()), X[:2])
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="no method decision_function"):
        explain(forest, X[:2], response_method="decision_function")


def test_images_are_no_table(three_classes):
    X, y = three_classes
    model = LogisticRegression(max_iter=500).fit(X, y)
    with pytest.raises(ValueError, match="images are explained with level='features'"):
        explain(model, np.zeros((2, 8, 8, 3), dtype=np.uint8), level="input")
    with pytest.raises(ValueError, match="images are explained"):
        explain(model, ["a.png", "b.png"], level="input")


def test_tables_that_cannot_be_read_are_named(frame):
    X, y = frame
    model = LogisticRegression(max_iter=500).fit(X, y)
    with pytest.raises(ValueError, match=r"background_data lacks columns that X has: \['gene 3'\]"):
        explain(model, X[:2], background_data=X.drop(columns="gene 3"), level="input")
    words = np.full((3, 10), "much", dtype=object)
    plain = LogisticRegression(max_iter=500).fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match=r"values are no numbers .*in a pandas DataFrame"):
        explain(plain, words, level="input")


def test_clusters_of_rows_need_complete_rows(three_classes):
    X, y = three_classes
    X = X.copy()
    X[::3, 2] = np.nan
    pipeline = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500)).fit(X, y)
    with pytest.raises(ValueError, match=r"needs data without missing values: use 'stratified'"):
        explain(pipeline, X[:2], background_data=X, background=5, level="input",
                background_method="kmeans")  # fmt: skip


@pytest.fixture(scope="module")
def four_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 25)
    return rng.normal(size=(100, 3)) + 2 * np.eye(4)[y][:, :3], y


def test_coefficients_of_pairs_of_classes_are_none_of_the_classes(four_classes, exact_shapley):
    X, y = four_classes
    # Six pairs of four classes: the coefficients are not those of the four margins.
    model = SVC(kernel="linear", random_state=0).fit(X, y)
    explanation = explain(model, X[:2], background_data=X[:6], background=6, random_state=0)
    assert explanation.method == "kernel"
    for row in range(2):
        expected = exact_shapley(model.decision_function, X[row], X[:6])
        np.testing.assert_allclose(explanation.values[row], expected, atol=1e-6)


def test_steps_without_names_give_their_own(three_classes):
    X, y = three_classes
    halves = make_pipeline(
        FunctionTransformer(lambda table: table[:, :2]), LogisticRegression()
    ).fit(X, y)
    found = explain(halves, X[:2], background=5, random_state=0)
    assert found.feature_names == ["functiontransformer0", "functiontransformer1"]
    framed = make_pipeline(
        FunctionTransformer(lambda table: pd.DataFrame(table[:, :2], columns=["age", "size"])),
        LogisticRegression(),
    ).fit(X, y)
    found = explain(framed, X[:2], background=5, random_state=0)
    assert found.feature_names == ["age", "size"]
