"""Groups and the inner folds of scikit-learn's meta-estimators, metadata routing off and on."""

import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifierCV
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline

from skcyto.model_selection import OptunaSearchCV, TunedLogitBiasClassifierCV, compare_models

SEEN = []
GROUPED = StratifiedGroupKFold(2)
INNER = "inner folds of"


class Folds(StratifiedGroupKFold):
    """Remembers the groups of both sides of its splits; the first feature is the group."""

    def split(self, X, y=None, groups=None):
        for train, test in super().split(X, y, groups):
            SEEN.append((set(groups[train]), set(groups[test])))
            yield train, test


META = {
    "TunedThresholdClassifierCV": lambda cv: TunedThresholdClassifierCV(
        LogisticRegression(), cv=cv
    ),
    "CalibratedClassifierCV": lambda cv: CalibratedClassifierCV(LogisticRegression(), cv=cv),
    "RFECV": lambda cv: make_pipeline(RFECV(LogisticRegression(), cv=cv), LogisticRegression()),
    "SequentialFeatureSelector": lambda cv: make_pipeline(
        SequentialFeatureSelector(LogisticRegression(), n_features_to_select=1, cv=cv),
        LogisticRegression(),
    ),
    "LogisticRegressionCV": lambda cv: LogisticRegressionCV(
        Cs=2, cv=cv, scoring="accuracy", l1_ratios=(0.0,), use_legacy_attributes=False
    ),
    "StackingClassifier": lambda cv: StackingClassifier(
        [("a", LogisticRegression())], LogisticRegression(), cv=cv
    ),
    "GridSearchCV": lambda cv: GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=cv),
    "TunedLogitBiasClassifierCV": lambda cv: TunedLogitBiasClassifierCV(
        LogisticRegression(), cv=cv
    ),
}


@pytest.fixture
def data():
    SEEN.clear()
    groups = np.repeat(np.arange(20), 3)
    y = groups % 2
    X = np.column_stack([groups, np.random.default_rng(0).normal(size=(60, 2))]).astype(float)
    return X, y, groups


@pytest.mark.parametrize("routing", [False, True], ids=["routing off", "routing on"])
@pytest.mark.parametrize("name", META)
def test_groups_reach_the_inner_folds_of_every_meta_estimator(name, routing, data):
    X, y, groups = data
    with config_context(enable_metadata_routing=routing):
        compared = compare_models(
            {"plain": LogisticRegression(), "meta": META[name](Folds(2))},
            X,
            y,
            groups=groups,
            cv=2,
            random_state=0,
        )
    assert compared.models == ["plain", "meta"], compared.failures
    assert len(SEEN) >= 4
    for train, test in SEEN:
        assert not train & test
        # Half of the twenty groups train in each of the two outer folds.
        assert len(train | test) == 10


@pytest.mark.parametrize("routing", [False, True], ids=["routing off", "routing on"])
@pytest.mark.parametrize("name", META)
def test_inner_folds_that_split_groups_are_named(name, routing, data):
    X, y, groups = data
    with (
        config_context(enable_metadata_routing=routing),
        pytest.warns(UserWarning, match=f"candidate 'meta': the {INNER} {name} split groups"),
    ):
        compare_models(
            {"plain": LogisticRegression(), "meta": META[name](2)},
            X,
            y,
            groups=groups,
            cv=2,
            random_state=0,
        )


def test_members_of_a_vote_and_searches_around_a_selector_keep_groups_whole(data):
    X, y, groups = data
    vote = VotingClassifier([("a", META["RFECV"](Folds(2))), ("b", META["GridSearchCV"](Folds(2)))])
    search = GridSearchCV(META["RFECV"](Folds(2)), {"rfecv__step": [1]}, cv=GROUPED)
    compared = compare_models(
        {"vote": vote, "search": search}, X, y, groups=groups, cv=2, random_state=0
    )
    assert compared.models == ["vote", "search"], compared.failures
    assert SEEN
    assert all(not train & test for train, test in SEEN)


@pytest.mark.parametrize("inner", ["StackingClassifier", "CalibratedClassifierCV"])
def test_grouped_folds_within_other_folds_are_refused_with_the_reason(inner, data):
    X, y, groups = data
    nested = META[inner](GROUPED)
    message = f"groups cannot reach the grouped cv of {inner}"
    search = GridSearchCV(nested, {"cv": [GROUPED]}, cv=GROUPED)
    with pytest.raises(ValueError, match=f"candidate 'nested': {message}"):
        compare_models({"plain": LogisticRegression(), "nested": search}, X, y, groups=groups)
    with pytest.raises(ValueError, match=message):
        TunedLogitBiasClassifierCV(nested, cv=GROUPED).fit(X, y, groups=groups)
    with pytest.raises(ValueError, match=message):
        OptunaSearchCV(nested, {"cv": [GROUPED]}, cv=GROUPED, n_trials=1).fit(X, y, groups=groups)


def test_estimators_without_folds_by_default_are_not_named(data):
    X, y, groups = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_models(
            {"plain": LogisticRegression(), "ridge": RidgeClassifierCV()},
            X,
            y,
            groups=groups,
            cv=2,
            random_state=0,
        )
