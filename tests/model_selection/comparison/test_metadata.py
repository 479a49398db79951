"""Groups and weights of the training cases reach the estimators that use them."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skcyto.model_selection import (
    OptunaSearchCV,
    TunedLogitBiasClassifierCV,
    compare_models,
)

SEEN = []


class WithGroups(ClassifierMixin, BaseEstimator):
    """Remembers what its fit was given."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y, sample_weight=None, groups=None):
        SEEN.append((np.asarray(X)[:, 0].round(), sample_weight, groups))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 3)
    y = np.where(groups % 2, "ill", "well")
    # The first feature tells which group a row belongs to.
    X = np.column_stack([groups, rng.normal(size=(60, 2))]).astype(float)
    SEEN.clear()
    return X, y, groups


def check_seen(n, weighted=False):
    assert len(SEEN) == n
    for rows, weight, groups in SEEN:
        np.testing.assert_array_equal(rows, groups)
        if weighted:
            np.testing.assert_array_equal(weight, rows + 1)
        else:
            assert weight is None


def test_groups_reach_an_estimator_and_the_last_step_of_a_pipeline(data):
    X, y, groups = data
    candidates = {
        "plain": WithGroups(),
        "pipeline": make_pipeline("passthrough", WithGroups()),
        "nested": make_pipeline("passthrough", make_pipeline("passthrough", WithGroups())),
        "uses none": GaussianNB(),
    }
    compare_models(candidates, X, y, groups=groups, cv=4, random_state=0)
    check_seen(12)


def test_weights_reach_every_candidate(data):
    X, y, groups = data
    candidates = {
        "plain": WithGroups(),
        "pipeline": make_pipeline("passthrough", WithGroups()),
        "tree": DecisionTreeClassifier(),
    }
    weight = groups + 1.0
    compare_models(
        candidates, X, y, groups=groups, cv=4, params={"sample_weight": weight}, random_state=0
    )
    check_seen(8, weighted=True)
    with pytest.raises(ValueError, match=r"candidate 'knn' takes no \['sample_weight'\]"):
        compare_models(
            {"knn": KNeighborsClassifier()}, X, y, groups=groups, params={"sample_weight": weight}
        )


def test_weights_are_those_of_the_training_cases(data):
    X, y, _ = data
    y = np.random.default_rng(1).permutation(y)
    weight = np.random.default_rng(2).random(60)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    found = compare_models({"tree": tree}, X, y, params={"sample_weight": weight}, cv=4)
    kept = found.out_of_fold("tree")
    for (_, part), (train, test) in zip(kept.groupby("fold"), found.splits.splits, strict=True):
        expected = clone(tree).fit(X[train], y[train], weight[train]).predict(X[test])
        assert part["y_pred"].tolist() == expected.tolist()


def test_groups_reach_the_inner_folds_of_a_search(data):
    X, y, groups = data
    grid = {"max_depth": [1, 2]}
    inner = []

    class Watched(GroupKFold):
        def split(self, X, y=None, groups=None):
            for train, test in super().split(X, y, groups):
                inner.append((groups[train], groups[test]))
                yield train, test

    search = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=Watched(3))
    compare_models({"search": search}, X, y, groups=groups, cv=4, random_state=0)
    assert len(inner) == 4 * 3
    assert not any(set(train) & set(test) for train, test in inner)


class GroupedStep(WithGroups):
    """The same as a transformer."""

    def transform(self, X):
        return X

    def fit_transform(self, X, y, groups=None):
        return self.fit(X, y, groups=groups).transform(X)


GROUPED = StratifiedGroupKFold(3)


@pytest.mark.parametrize(
    ("candidate", "n_fits"),
    [
        (make_pipeline(GroupedStep(), GaussianNB()), 4),
        (GridSearchCV(make_pipeline(WithGroups()), {"withgroups__shift": [0, 1]}, cv=GROUPED), 28),
        (OptunaSearchCV(WithGroups(), {"shift": [0, 1]}, n_trials=2, cv=GROUPED), 28),
        (
            OptunaSearchCV(
                make_pipeline(GroupedStep(), WithGroups()),
                {"withgroups__shift": [0, 1]},
                n_trials=2,
                cv=GROUPED,
            ),
            56,
        ),
        (TunedLogitBiasClassifierCV(WithGroups(), cv=GROUPED), 16),
        (make_pipeline("passthrough", TunedLogitBiasClassifierCV(WithGroups(), cv=GROUPED)), 16),
        (
            TunedLogitBiasClassifierCV(
                OptunaSearchCV(WithGroups(), {"shift": [0, 1]}, n_trials=2, cv=GROUPED), cv=GROUPED
            ),
            4 * 4 * 7,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_groups_reach_what_is_inside_a_candidate(data, candidate, n_fits):
    X, y, groups = data
    compare_models({"candidate": candidate}, X, y, groups=groups, cv=4, random_state=0)
    check_seen(n_fits)


@pytest.mark.parametrize(
    "candidate",
    [
        GridSearchCV(WithGroups(), {"shift": [0.0]}, cv=GROUPED),
        CalibratedClassifierCV(WithGroups(), cv=GROUPED, ensemble=False),
        make_pipeline("passthrough", CalibratedClassifierCV(WithGroups(), cv=GROUPED)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_groups_that_cannot_reach_the_inside_are_pointed_out(data, candidate):
    X, y, groups = data
    with pytest.warns(UserWarning, match="'candidate': groups do not reach WithGroups"):
        compare_models({"candidate": candidate}, X, y, groups=groups, cv=4, random_state=0)


@pytest.mark.parametrize("routing", [False, True])
def test_standalone_searches_hand_groups_on(data, routing):
    X, y, groups = data
    with config_context(enable_metadata_routing=routing):
        inner = WithGroups()
        if routing:
            inner.set_fit_request(groups=True, sample_weight=False)
        OptunaSearchCV(inner, {"shift": [0, 1]}, n_trials=2, cv=GROUPED).fit(X, y, groups=groups)
        TunedLogitBiasClassifierCV(inner, cv=GROUPED).fit(X, y, groups=groups)
    check_seen(7 + 4)


def test_inner_folds_that_split_groups_are_pointed_out(data):
    X, y, groups = data
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1]}, cv=3)
    with pytest.warns(UserWarning, match="inner folds of GridSearchCV split groups"):
        compare_models({"search": search}, X, y, groups=groups, cv=4, random_state=0)
    # Without groups there is nothing to split.
    compare_models({"search": search}, X, y, cv=4, random_state=0)


def test_weights_pass_through_a_search(data):
    X, y, groups = data
    pipeline = make_pipeline("passthrough", WithGroups())
    search = GridSearchCV(pipeline, {"withgroups__shift": [0.0]}, cv=GroupKFold(2))
    compare_models(
        {"search": search},
        X,
        y,
        groups=groups,
        cv=2,
        params={"sample_weight": groups + 1.0},
        random_state=0,
    )
    assert len(SEEN) == 2 * (2 + 1)
    assert all(np.array_equal(weight, rows + 1) for rows, weight, _ in SEEN)


def test_with_metadata_routing_only_what_was_requested_is_passed(data):
    X, y, groups = data
    with config_context(enable_metadata_routing=True):
        asks = WithGroups().set_fit_request(groups=True, sample_weight=False)
        compare_models({"asks": asks}, X, y, groups=groups, cv=4, random_state=0)
        check_seen(4)
        SEEN.clear()
        pipeline = make_pipeline(
            StandardScaler(with_mean=False, with_std=False).set_fit_request(sample_weight=False),
            WithGroups().set_fit_request(groups=True, sample_weight=True),
        )
        compare_models(
            {"pipeline": pipeline},
            X,
            y,
            groups=groups,
            cv=4,
            params={"sample_weight": groups + 1.0},
            random_state=0,
        )
        check_seen(4, weighted=True)
        SEEN.clear()
        silent = {"silent": WithGroups().set_fit_request(groups=False, sample_weight=False)}
        compare_models(silent, X, y, groups=groups, cv=4, random_state=0)
        assert all(groups is None for _, _, groups in SEEN)
        with pytest.raises(ValueError, match="request them with set_fit_request"):
            compare_models(silent, X, y, params={"sample_weight": groups}, cv=4)


def test_with_metadata_routing_groups_pass_through_a_search_to_its_estimator(data):
    X, y, groups = data
    with config_context(enable_metadata_routing=True):
        net = WithGroups().set_fit_request(groups=True, sample_weight=False)
        search = GridSearchCV(net, {"shift": [0.0, 1.0]}, cv=StratifiedGroupKFold(2))
        compare_models({"search": search}, X, y, groups=groups, cv=2, random_state=0)
    check_seen(2 * (2 * 2 + 1))


def test_the_imbalanced_mlp_keeps_patients_whole_in_its_own_split(data, monkeypatch):
    from skcyto.neural_network import ImbalancedMLPClassifier

    X, y, groups = data
    given = []
    original = ImbalancedMLPClassifier.fit

    def fit(self, X, y, sample_weight=None, groups=None):
        given.append(groups)
        return original(self, X, y, sample_weight=sample_weight, groups=groups)

    monkeypatch.setattr(ImbalancedMLPClassifier, "fit", fit)
    net = ImbalancedMLPClassifier(hidden_layer_sizes=(4,), max_epochs=2)
    found = compare_models(
        {"net": make_pipeline(StandardScaler(), net)}, X, y, groups=groups, cv=2, random_state=0
    )
    assert [len(part) for part in given] == [len(train) for train, _ in found.splits.splits]
