"""The filter's correlations are pingouin's, and it works inside the fold."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_selection import ReproducibilityFilter
from skcyto.model_selection import compare_models

FORMS = ["ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)"]
# Shrout and Fleiss' own example: six subjects, four judges; pingouin 0.7.0's values of it.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
OF_JUDGES = [
    0.1657417684054755,
    0.28976377952755916,
    0.7148407148407154,
    0.44279713367926876,
    0.6200505475989893,
    0.9093155423770697,
]
# Twelve scans measured three times, and pingouin 0.7.0's values.
SCANS = np.array(
    [
        [0.064, -0.257, -0.216], [0.716, -0.208, -0.176], [-1.415, -0.748, -1.579],
        [-1.032, -1.351, -0.928], [-0.361, -0.267, -2.165], [-1.315, -0.721, -1.124],
        [-0.858, 0.073, -0.727], [0.855, 2.277, 0.656], [-0.512, 0.338, -1.042],
        [-0.687, -0.254, -0.782], [-0.245, 0.836, 1.105], [-0.571, 1.173, 0.228],
    ]
)  # fmt: skip
OF_SCANS = [
    0.5360373957444711,
    0.5521441216371197,
    0.6163331946367667,
    0.7760879065942707,
    0.7871698994687041,
    0.8281575755309905,
]


def fit(measurements, **parameters):
    """Fit on measurements of shape (n_subjects, n_measurements) of one feature."""
    first, rest = measurements[:, :1], measurements[:, 1:, None]
    return ReproducibilityFilter(**parameters).fit(first, repeats=rest)


@pytest.mark.filterwarnings("ignore::skcyto.exceptions.DroppedFeatureWarning")
@pytest.mark.parametrize(
    ("measurements", "expected"), [(JUDGES, OF_JUDGES), (SCANS, OF_SCANS)], ids=["judges", "scans"]
)
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_correlations_are_those_of_pingouin(measurements, expected, scale):
    found = [fit(measurements * scale, icc=form).icc_[0] for form in FORMS]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.filterwarnings("ignore::skcyto.exceptions.DroppedFeatureWarning")
def test_a_large_offset_does_not_cost_digits():
    found = fit(SCANS + 1e6, icc="ICC(2,1)").icc_[0]
    np.testing.assert_allclose(found, OF_SCANS[1], rtol=1e-6)


def test_the_threshold_decides():
    assert fit(SCANS, icc="ICC(2,k)", threshold=0.78).support_.tolist() == [True]
    with pytest.warns(DroppedFeatureWarning, match=r"none of 1 features has ICC\(2,k\) >= 0.79"):
        selector = fit(SCANS, icc="ICC(2,k)", threshold=0.79)
    assert selector.dropped_["reason"].tolist() == ["not reproducible"]


def test_cases_measured_once_have_no_part():
    rng = np.random.default_rng(0)
    X = np.concatenate([SCANS[:, :1], rng.normal(size=(8, 1)) * 50])
    repeats = np.concatenate([SCANS[:, 1:], np.full((8, 2), np.nan)])[:, :, None]
    selector = ReproducibilityFilter(threshold=0.5).fit(X, repeats=repeats)
    np.testing.assert_allclose(selector.icc_, OF_SCANS[1], rtol=1e-10)
    assert selector.n_subjects_.tolist() == [12]
    assert selector.n_measurements_ == 3
    assert selector.transform(X).shape == (20, 1)


def test_what_is_dropped_and_why():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(10, 5)), columns=list("abcde"))
    X["b"] = 3.3
    X["c"] = np.nan
    repeats = X + 0.01 * rng.normal(size=X.shape)
    repeats["b"] = 3.3
    repeats["d"] = rng.normal(size=10)
    repeats.loc[1:, "e"] = np.nan
    with pytest.warns(DroppedFeatureWarning) as caught:
        selector = ReproducibilityFilter().fit(X, repeats=repeats)
    messages = "\n".join(str(each.message) for each in caught)
    assert "2 feature(s) ('c', 'e'), which have fewer than two cases with all" in messages
    assert "1 feature(s) ('b'), which are constant" in messages
    reasons = dict(zip(selector.dropped_["feature"], selector.dropped_["reason"], strict=True))
    assert reasons == {"b": "constant", "c": "missing", "d": "not reproducible", "e": "missing"}
    assert selector.get_feature_names_out().tolist() == ["a"]


@pytest.mark.parametrize(
    ("repeats", "message"),
    [
        (None, "needs measurements to compare with.*reproducibilityfilter__repeats"),
        (np.ones((5, 2)), r"the shape \(6, 2\) of X, or \(6, n_repeats, 2\); got \(5, 2\)"),
        (np.ones((6, 1, 3)), r"got \(6, 1, 3\)"),
        (np.full((6, 2), np.inf), "repeats contains infinity"),
        (np.full((6, 2), np.nan), "no feature has all of its measurements in two"),
    ],
)
def test_bad_repeats_are_named(repeats, message):
    X = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(ValueError, match=message):
        ReproducibilityFilter().fit(X, repeats=repeats)


def test_columns_in_another_order_are_refused():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 2)), columns=["a", "b"])
    with pytest.raises(ValueError, match="'b' in the place of 'a'"):
        ReproducibilityFilter().fit(X, repeats=X[["b", "a"]])


@pytest.fixture
def study():
    """Forty cases, four features; the last one cannot be measured twice."""
    rng = np.random.default_rng(3)
    y = np.tile([0, 1], 20)
    X = rng.normal(size=(40, 4)) + y[:, None]
    repeats = X[:, None] + rng.normal(size=(40, 2, 4)) * [0.1, 0.1, 0.1, 5.0]
    return X, y, repeats


class TestInTheFold:
    """Each fold's filter sees the repeats of its training cases alone."""

    @staticmethod
    def expected(X, y, repeats, folds):
        return [
            ReproducibilityFilter().fit(X[train], repeats=repeats[train]).icc_
            for train, _ in folds.split(X, y)
        ]

    def test_cross_validate(self, study):
        X, y, repeats = study
        folds = StratifiedKFold(4)
        pipeline = make_pipeline(ReproducibilityFilter(), StandardScaler(), LogisticRegression())
        found = cross_validate(
            pipeline,
            X,
            y,
            cv=folds,
            params={"reproducibilityfilter__repeats": repeats},
            return_estimator=True,
        )
        for fitted, icc in zip(
            found["estimator"], self.expected(X, y, repeats, folds), strict=True
        ):
            np.testing.assert_array_equal(fitted[0].icc_, icc)
            assert fitted[0].support_.tolist() == [True, True, True, False]

    def test_compare_models(self, study):
        X, y, repeats = study
        with config_context(enable_metadata_routing=True):
            selector = ReproducibilityFilter().set_fit_request(repeats=True)
            strict = ReproducibilityFilter(threshold=0.9).set_fit_request(repeats=True)
            models = {
                "good": make_pipeline(selector, StandardScaler(), LogisticRegression()),
                "excellent": make_pipeline(strict, StandardScaler(), LogisticRegression()),
            }
            comparison = compare_models(
                models, X, y, cv=StratifiedKFold(4), params={"repeats": repeats}, random_state=0
            )
        train, test = next(StratifiedKFold(4).split(X, y))
        kept = ReproducibilityFilter(threshold=0.9).fit(X[train], repeats=repeats[train])
        alone = make_pipeline(StandardScaler(), LogisticRegression())
        alone.fit(kept.transform(X[train]), y[train])
        expected = alone.predict_proba(kept.transform(X[test]))[:, 1]
        found = comparison.out_of_fold("excellent").query("fold == 0").set_index("sample")
        np.testing.assert_allclose(found.loc[test, "predict_proba[1]"], expected)

    def test_a_cohort_of_its_own(self, study):
        X, y, repeats = study
        selector = ReproducibilityFilter().fit(X[:20], repeats=repeats[:20])
        pipeline = make_pipeline(FrozenEstimator(selector), LogisticRegression())
        assert pipeline.fit(X[20:], y[20:])[:-1].transform(X).shape == (40, 3)


def test_saved_and_loaded(study, tmp_path):
    X, y, repeats = study
    pipeline = make_pipeline(ReproducibilityFilter(), LogisticRegression())
    pipeline.fit(X, y, reproducibilityfilter__repeats=repeats)
    loaded = skcyto.load(skcyto.save(pipeline, tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))
    pd.testing.assert_frame_equal(loaded[0].dropped_, pipeline[0].dropped_)
