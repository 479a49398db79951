"""ImportanceThresholdSelector: strict cuts, magnitudes before averaging, pipelines, metadata."""

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import Pipeline as ImbalancedPipeline
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcyto.feature_selection import ImportanceThresholdSelector


class Fixed(BaseEstimator):
    """Has the importances it was given, whatever the data."""

    def __init__(self, feature_importances=None, coef=None):
        self.feature_importances = feature_importances
        self.coef = coef

    def fit(self, X, y=None):
        if self.coef is not None:
            self.coef_ = self.coef
        else:
            self.feature_importances_ = self.feature_importances
        return self


def select(importances, threshold, **kwargs):
    importances = np.asarray(importances, dtype=float)
    selector = ImportanceThresholdSelector(Fixed(importances), threshold, **kwargs)
    return selector.fit(np.zeros((3, len(importances))), [0, 1, 0])


@pytest.fixture(scope="module")
def three_classes():
    X, y = make_classification(
        150, 8, n_informative=4, n_redundant=0, n_classes=3, class_sep=2, random_state=0
    )
    return X, np.array(["healthy", "rubbish", "unhealthy"])[y]


@parametrize_with_checks(
    [
        ImportanceThresholdSelector(RandomForestClassifier(5, random_state=0), "mean"),
        ImportanceThresholdSelector(LogisticRegression(), one_vs_rest=True),
        ImportanceThresholdSelector(make_pipeline(StandardScaler(), LogisticRegression()), 0.0),
    ]
)
def test_estimator_checks(estimator, check):
    check(estimator)


# The paper's cuts on 768 features: what each model's selection left out.
@pytest.mark.parametrize(
    ("threshold", "n_dropped", "share"),
    [(1e-16, 239, 31.12), (3e-6, 15, 1.95), (0, 308, 40.10)],
    ids=["LR", "RF", "GB"],
)
def test_ps3c_thresholds_are_strict(threshold, n_dropped, share):
    rng = np.random.default_rng(0)
    dropped = rng.uniform(0, threshold, n_dropped)
    dropped[: n_dropped // 2] = threshold  # exactly at the threshold: dropped too
    kept = rng.uniform(np.nextafter(threshold, 1), 0.01, 768 - n_dropped)
    kept[0] = np.nextafter(threshold, 1)
    importances = np.concatenate([dropped, kept])
    order = rng.permutation(768)
    selector = select(importances[order], threshold)
    assert_array_equal(selector.get_support(), order >= n_dropped)
    assert round(100 * np.mean(~selector.get_support()), 2) == share
    assert selector.threshold_ == threshold


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("mean", 4.0),
        ("median", 2.0),
        ("0.5*mean", 2.0),
        (" 2 * median ", 4.0),
        (2, 2.0),
        (-np.inf, -np.inf),
    ],
)
def test_thresholds_by_name(threshold, expected):
    importances = [1, 2, 3, 13, 1]
    selector = select(importances, threshold)
    assert selector.threshold_ == expected
    assert_array_equal(selector.get_support(), np.array(importances) > expected)


@pytest.mark.parametrize("threshold", ["nonsense", "0.5*nonsense", "x*mean", "mean*2", "", "*mean"])
def test_unknown_threshold_is_told_before_the_model_is_fitted(threshold):
    class NeverFit(Fixed):
        def fit(self, X, y=None):
            raise AssertionError("the model was fitted")

    with pytest.raises(ValueError, match=r"threshold=.* is not understood: use a number"):
        ImportanceThresholdSelector(NeverFit(), threshold).fit(np.eye(3), [0, 1, 0])


def test_linear_model_is_ranked_by_mean_magnitude(three_classes):
    X, y = three_classes
    selector = ImportanceThresholdSelector(LogisticRegression(), "mean").fit(X, y)
    coef = selector.estimator_.coef_
    assert coef.shape == (3, 8)
    assert_allclose(selector.importances_, np.abs(coef).mean(axis=0))
    # The paper's signed mean is zero up to rounding for each feature: it ranks nothing.
    assert np.abs(coef.mean(axis=0)).max() < 1e-10 < selector.importances_.min()


def test_row_order_does_not_change_the_selection(three_classes):
    X, y = three_classes
    ranker = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000)
    supports, signed = [], []
    for seed in range(6):
        rows = np.random.default_rng(seed).permutation(len(y))
        selector = ImportanceThresholdSelector(ranker, "0.5*mean").fit(X[rows], y[rows])
        supports.append(selector.get_support())
        signed.append(np.abs(selector.estimator_.coef_.mean(axis=0)) > 1e-16)
    assert 0 < supports[0].sum() < 8
    for support in supports[1:]:
        assert_array_equal(support, supports[0])
    # The cut of the signed mean at 1e-16 is decided by rounding, so it follows the row order.
    assert len({tuple(mask) for mask in signed}) > 1


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("mean", [2, 2]), ("max", [3, 2]), ("norm", [10**0.5, 8**0.5])]
)
def test_aggregate(aggregate, expected):
    model = Fixed(coef=np.array([[1.0, -2.0], [-3.0, 2.0]]))
    selector = ImportanceThresholdSelector(model, 0, aggregate=aggregate).fit(np.eye(2), [0, 1])
    assert_allclose(selector.importances_, expected)


def test_trees_and_zero_threshold(three_classes):
    X, y = three_classes
    model = GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0)
    selector = ImportanceThresholdSelector(model, 0).fit(X, y)
    assert_array_equal(selector.importances_, selector.estimator_.feature_importances_)
    assert_array_equal(selector.get_support(), selector.importances_ > 0)
    assert 0 < selector.get_support().sum() < 8


def test_coef_comes_before_feature_importances():
    model = SimpleNamespace(
        coef_=np.array([1.0, 2.0]), feature_importances_=np.array([5.0, 6.0]), fit=None
    )
    from skcyto.feature_selection._importances import read_importances

    assert_array_equal(read_importances(model, "auto", "mean", 2), [1, 2])


def test_pipelines_and_searches_are_looked_through(three_classes):
    X, y = three_classes
    plain = ImportanceThresholdSelector(LogisticRegression(), "mean")
    expected = plain.fit(StandardScaler().fit_transform(X), y).importances_
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [1.0]}, cv=2)
    nested = make_pipeline("passthrough", pipeline)
    for ranker in (pipeline, search, nested):
        assert_allclose(plain.set_params(estimator=ranker).fit(X, y).importances_, expected)
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    selector = ImportanceThresholdSelector(pipeline, "mean").fit(frame, y)
    assert_allclose(selector.importances_, expected)
    assert list(selector.get_feature_names_out()) == list(frame.columns[selector.get_support()])


def test_sampler_in_the_pipeline(three_classes):
    X, y = three_classes
    keep = np.flatnonzero((y != "unhealthy") | (np.arange(len(y)) % 3 == 0))
    ranker = ImbalancedPipeline(
        [("over", RandomOverSampler(random_state=0)), ("lr", LogisticRegression())]
    )
    selector = ImportanceThresholdSelector(ranker, "mean").fit(X[keep], y[keep])
    assert_allclose(selector.importances_, np.abs(selector.estimator_[-1].coef_).mean(axis=0))


def test_features_that_the_pipeline_drops_have_no_importance(three_classes):
    X, y = three_classes
    X = np.insert(X, 3, 1.0, axis=1)
    ranker = make_pipeline(VarianceThreshold(), StandardScaler(), LogisticRegression())
    selector = ImportanceThresholdSelector(ranker, 0).fit(X, y)
    assert_array_equal(np.flatnonzero(selector.importances_ == 0), [3])
    frame = pd.DataFrame(X, columns=list("abcdefghi"))
    assert "d" not in selector.fit(frame, y).get_feature_names_out()


def test_new_features_in_the_pipeline_are_refused(three_classes):
    # As many components as features: the lengths agree, the meaning does not.
    ranker = make_pipeline(PCA(), LogisticRegression())
    with pytest.raises(ValueError, match=r"PCA makes new features \(pca0, pca1, pca2, \.\.\.\)"):
        ImportanceThresholdSelector(ranker).fit(*three_classes)


def test_steps_that_cannot_name_their_features_are_taken_to_keep_them(three_classes):
    X, y = three_classes
    plain = LogisticRegression(max_iter=500).fit(X, y)

    # Without get_feature_names_out, and with one that fails, as of a step that is not fitted.
    def refuse(step, names):
        raise ValueError("the names are not known")

    silent = FunctionTransformer()
    failing = FunctionTransformer(feature_names_out=refuse)
    for step in (silent, failing):
        ranker = make_pipeline(step, LogisticRegression(max_iter=500))
        found = ImportanceThresholdSelector(ranker, 0).fit(X, y).importances_
        assert_allclose(found, np.abs(plain.coef_).mean(axis=0))
    with pytest.raises(ValueError, match=r"2 importances for 8 input features.*changes the feat"):
        ImportanceThresholdSelector(
            make_pipeline(FunctionTransformer(lambda table: table[:, :2]), LogisticRegression())
        ).fit(X, y)


def test_an_attribute_that_the_model_lacks_is_named(three_classes):
    selector = ImportanceThresholdSelector(
        LogisticRegression(), importance_getter="estimator_.coef_"
    )
    message = r"importance_getter='estimator_.coef_' names no attribute of the fitted LogisticReg"
    with pytest.raises(ValueError, match=message):
        selector.fit(*three_classes)


def test_importance_getter():
    X = np.random.default_rng(0).normal(size=(50, 3))
    y = np.exp(X @ [3.0, 0.1, -2.0])
    ranker = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
    by_path = ImportanceThresholdSelector(ranker, 1, importance_getter="regressor_.coef_")
    by_call = ImportanceThresholdSelector(
        ranker, 1, importance_getter=lambda model: model.regressor_.coef_
    )
    for selector in (by_path, by_call):
        assert_array_equal(selector.fit(X, y).get_support(), [True, False, True])
        assert_allclose(selector.importances_, [3, 0.1, 2])


def test_sparse_coef(three_classes):
    X, y = three_classes
    model = LogisticRegression(max_iter=500).fit(X, y)
    dense = ImportanceThresholdSelector(model, "mean", prefit=True).fit(X).importances_
    sparse = ImportanceThresholdSelector(model.sparsify(), "mean", prefit=True).fit(X).importances_
    assert_allclose(sparse, dense)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (KNeighborsClassifier(), "KNeighborsClassifier has neither `coef_` nor"),
        (SVC(kernel="rbf"), "SVC has neither"),
        (Fixed(np.ones(3)), "Fixed has 3 importances for 2 input features"),
        (Fixed(np.array([1.0, np.nan])), r"not finite for 1 feature\(s\), first at column 1"),
        (Fixed(np.ones((1, 1, 2))), "have 3 dimensions"),
    ],
)
def test_no_usable_importances(model, message):
    with pytest.raises(ValueError, match=message):
        ImportanceThresholdSelector(model).fit(
            np.array([[0, 1], [1, 0], [1, 1]] * 3), [0, 1, 0] * 3
        )


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("aggregate", "sum"),
        ("max_features", 0),
        ("max_features", 0.5),
        ("threshold", None),
        ("threshold", np.nan),
        ("estimator", LogisticRegression.__name__),
        ("prefit", "yes"),
    ],
)
def test_bad_parameters_are_named(parameter, value):
    selector = ImportanceThresholdSelector(Fixed(np.ones(2))).set_params(**{parameter: value})
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter"):
        selector.fit(np.eye(2), [0, 1])


def test_max_features_keeps_the_best_and_breaks_ties_by_column():
    importances = [0.1, 0.4, 0.4, 0.4, 0.0]
    assert_array_equal(select(importances, 0, max_features=2).get_support(indices=True), [1, 2])
    assert_array_equal(select(importances, 0, max_features=9).get_support(indices=True), range(4))
    only_rank = select(importances, -np.inf, max_features=5)
    assert only_rank.get_support().all()


def test_nothing_kept():
    message = (
        r"no importance is above threshold=9.*largest of 2 feature\(s\) is 0\.2.*allow_empty=True"
    )
    with pytest.raises(ValueError, match=message):
        select([0.1, 0.2], 9)
    selector = select([0.1, 0.2], 9, allow_empty=True)
    with pytest.warns(UserWarning, match="No features were selected"):
        assert selector.transform(np.eye(2)).shape == (2, 0)


def test_prefit(three_classes):
    X, y = three_classes
    model = LogisticRegression(max_iter=500).fit(X, y)
    selector = ImportanceThresholdSelector(model, "mean", prefit=True).fit(X[:2])
    assert_allclose(selector.importances_, np.abs(model.coef_).mean(axis=0))
    assert selector.estimator_ is not model
    with pytest.raises(NotFittedError):
        ImportanceThresholdSelector(LogisticRegression(), prefit=True).fit(X, y)
    with pytest.raises(ValueError, match="8 importances for 3 input features"):
        ImportanceThresholdSelector(model, prefit=True).fit(X[:, :3])
    with pytest.raises(ValueError, match="prefit must be False"):
        ImportanceThresholdSelector(model, prefit=True, one_vs_rest=True).fit(X, y)


def test_one_vs_rest(three_classes):
    X, y = three_classes
    ranker = LinearSVC(random_state=0)
    selector = ImportanceThresholdSelector(ranker, "mean", one_vs_rest=True).fit(X, y)
    expected = [
        np.abs(clone(ranker).fit(X, (y == label).astype(int)).coef_[0]) for label in np.unique(y)
    ]
    assert len(selector.estimators_) == 3
    assert_allclose(selector.importances_, np.mean(expected, axis=0))
    two = y != "rubbish"
    assert len(selector.fit(X[two], y[two]).estimators_) == 1
    with pytest.raises(ValueError, match=r"at least two classes; y holds 1 class\(es\)"):
        selector.fit(X, np.ones(len(y)))


def test_sample_weight(three_classes):
    X, y = three_classes
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    expected = np.abs(LogisticRegression().fit(X, y, sample_weight=weight).coef_).mean(axis=0)
    bare = ImportanceThresholdSelector(LogisticRegression(), "mean")
    piped = ImportanceThresholdSelector(make_pipeline("passthrough", LogisticRegression()), "mean")
    for selector in (bare, piped):
        assert_allclose(selector.fit(X, y, sample_weight=weight).importances_, expected)
        assert not np.allclose(selector.fit(X, y).importances_, expected)
    with pytest.raises(TypeError, match="sample_weight"):
        ImportanceThresholdSelector(KNeighborsClassifier()).fit(X, y, sample_weight=weight)


def test_metadata_routing(three_classes):
    X, y = three_classes
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    expected = np.abs(LogisticRegression().fit(X, y, sample_weight=weight).coef_).mean(axis=0)
    with sklearn.config_context(enable_metadata_routing=True):
        ranker = LogisticRegression().set_fit_request(sample_weight=True)
        for model in (ranker, make_pipeline("passthrough", ranker)):
            selector = ImportanceThresholdSelector(model, "mean")
            outer = make_pipeline(
                selector, LogisticRegression().set_fit_request(sample_weight=False)
            )
            outer.fit(X, y, sample_weight=weight)
            assert_allclose(outer[0].importances_, expected)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            ImportanceThresholdSelector(LogisticRegression()).fit(X, y, sample_weight=weight)
        with pytest.raises(TypeError, match="sample_weight"):
            ImportanceThresholdSelector(Perceptron().set_fit_request(sample_weight=False)).fit(
                X, y, sample_weight_of_mine=weight
            )


def test_names_set_output_pickle_and_search(three_classes):
    X, y = three_classes
    frame = pd.DataFrame(X, columns=[f"all_{i}" for i in range(8)])
    selector = ImportanceThresholdSelector(RandomForestClassifier(10, random_state=0), "median")
    out = selector.set_output(transform="pandas").fit_transform(frame, y)
    assert list(out.columns) == list(frame.columns[selector.get_support()])
    assert out.shape[1] == 4
    loaded = pickle.loads(pickle.dumps(selector))
    pd.testing.assert_frame_equal(loaded.transform(frame), out)
    search = GridSearchCV(
        make_pipeline(selector, LogisticRegression()),
        {
            "importancethresholdselector__threshold": ["knee", "median", 0.0],
            "importancethresholdselector__estimator__max_depth": [2, None],
        },
        cv=2,
    ).fit(frame, y)
    assert search.best_score_ > 0.5
    with pytest.raises(NotFittedError):
        clone(selector).get_support()


def test_missing_values_follow_the_model(three_classes):
    X, y = three_classes
    X = X.copy()
    X[0, 0] = np.nan
    forest = ImportanceThresholdSelector(RandomForestClassifier(10, random_state=0), "median")
    assert np.isnan(forest.fit(X, y).transform(X)).sum() == int(forest.get_support()[0])
    with pytest.raises(ValueError, match="NaN"):
        ImportanceThresholdSelector(LogisticRegression()).fit(X, y)
