"""SMOTE and Tomek links before the network, in imbalanced-learn's pipeline."""

import warnings

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import TomekLinks
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import MinMaxScaler

from skcyto.losses import Focal
from skcyto.model_selection import TunedLogitBiasClassifierCV, compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

QUICK = {
    "hidden_layer_sizes": (0.5,),
    "max_epochs": 3,
    "batch_size": 36,
    "validation_fraction": None,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def cases():
    """The cytology table at 1:4, labels as strings."""
    data = load_breast_cancer()
    y = data.target_names[data.target]
    malignant = np.flatnonzero(y == "malignant")[:89]
    rows = np.sort(np.concatenate([np.flatnonzero(y == "benign"), malignant]))
    return data.data[rows], y[rows]


def smote(**settings):
    return Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("smote", SMOTE(random_state=0)),
            ("net", ImbalancedMLPClassifier(**{**QUICK, **settings})),
        ]
    )


def test_class_counts_are_those_after_resampling(cases):
    X, y = cases
    assert dict(zip(*np.unique(y, return_counts=True), strict=True)) == {
        "benign": 357,
        "malignant": 89,
    }
    net = smote().fit(X, y)[-1]
    assert net.classes_.tolist() == ["benign", "malignant"]
    assert net.class_counts_.tolist() == [357, 357]
    # With validation rows, the counts are of what is left to train on.
    net = smote(validation_fraction=0.2).fit(X, y)[-1]
    assert net.class_counts_.tolist() == [285, 286] or net.class_counts_.tolist() == [286, 285]
    cleaned = make_pipeline(MinMaxScaler(), TomekLinks(), ImbalancedMLPClassifier(**QUICK))
    scaled = MinMaxScaler().fit_transform(X)
    _, kept = TomekLinks().fit_resample(scaled, y)
    assert len(kept) < len(y)
    counts = cleaned.fit(X, y)[-1].class_counts_
    assert counts.tolist() == [np.sum(kept == "benign"), 89]


def test_class_weights_follow_the_resampled_counts(cases):
    """After SMOTE balanced weights are ones: nothing is left that could be corrected twice."""
    X, y = cases
    weighted = smote(class_weight="balanced").fit(X, y)
    assert weighted[-1].class_weight_.tolist() == [1, 1]
    plain = smote().fit(X, y)
    np.testing.assert_allclose(weighted.predict_proba(X), plain.predict_proba(X), rtol=0, atol=1e-5)
    # The same for a loss that is fitted to the counts.
    adjusted = smote(loss="balanced_softmax").fit(X, y)
    np.testing.assert_allclose(adjusted.predict_proba(X), plain.predict_proba(X), rtol=0, atol=1e-5)


def test_weights_by_label_do_correct_twice(cases):
    """What the guide warns of: weights that were worked out before the resampling."""
    X, y = cases
    twice = smote(class_weight={"benign": 1, "malignant": 4}).fit(X, y)
    assert twice[-1].class_weight_.tolist() == [1, 4]
    once = smote().fit(X, y)
    assert np.mean(twice.predict_proba(X)[:, 1]) > np.mean(once.predict_proba(X)[:, 1]) + 0.1


class _CountingSMOTE(SMOTE):
    seen: list[int] = []

    def fit_resample(self, X, y, **params):
        self.seen.append(len(X))
        return super().fit_resample(X, y, **params)


def test_resampling_happens_in_fit_alone(cases):
    X, y = cases
    _CountingSMOTE.seen = []
    pipeline = make_pipeline(
        MinMaxScaler(), _CountingSMOTE(random_state=0), ImbalancedMLPClassifier(**QUICK)
    )
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    probabilities = cross_val_predict(pipeline, X, y, cv=cv, method="predict_proba")
    assert probabilities.shape == (len(y), 2)
    # Only training rows were seen, once a fold; every scored row got its own probabilities.
    assert _CountingSMOTE.seen == [len(train) for train, _ in cv.split(X, y)]
    pipeline.fit(X, y)
    assert len(_CountingSMOTE.seen) == 4
    pipeline.predict(X[:7])
    pipeline.score(X, y)
    assert len(_CountingSMOTE.seen) == 4


def test_clone_and_grid_search(cases):
    X, y = cases
    pipeline = smote(loss=Focal())
    copy = clone(pipeline)
    assert copy.get_params()["net__loss__gamma"] == 2
    assert np.array_equal(
        copy.fit(X, y).predict_proba(X), clone(pipeline).fit(X, y).predict_proba(X)
    )
    search = GridSearchCV(
        pipeline,
        [
            {"net__loss": ["ce", Focal(gamma=1.5)], "smote__k_neighbors": [3]},
            {"net__loss__gamma": [0.5], "smote": ["passthrough", RandomOverSampler()]},
        ],
        scoring="f1_macro",
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert set(search.predict(X)) <= {"benign", "malignant"}


def test_in_a_comparison_and_with_tuned_decisions(cases):
    X, y = cases
    seedless = clone(smote()).set_params(smote__random_state=None, net__random_state=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare_models(
            {
                "ce": make_pipeline(MinMaxScaler(), ImbalancedMLPClassifier(**QUICK)),
                "SMOTE": seedless,
                "SMOTE, tuned": TunedLogitBiasClassifierCV(seedless, cv=2),
            },
            X,
            y,
            cv=2,
            scoring="f1_macro",
            random_state=0,
        )
    assert not comparison.failures
    assert len(comparison.out_of_fold("SMOTE")) == len(y)
