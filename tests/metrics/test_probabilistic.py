"""Scores of probabilities against scikit-learn and values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.svm import SVC

from skcyto.metrics import (
    expected_calibration_error,
    get_scorer,
    macro_average_precision_score,
    macro_roc_auc_score,
)


def probabilities(n, n_classes, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_classes, n), rng.dirichlet(np.ones(n_classes), n)


def test_macro_auc_is_scikit_learns_one_versus_rest():
    true, prob = probabilities(80, 4, 0)
    expected = roc_auc_score(true, prob, multi_class="ovr", average="macro")
    assert macro_roc_auc_score(true, prob) == pytest.approx(expected)


def test_macro_auc_takes_decision_values_and_any_order_of_labels():
    true, prob = probabilities(60, 3, 1)
    logits = np.log(prob) * 5 + 3
    names = np.array(["x", "a", "m"])
    found = macro_roc_auc_score(names[true], logits, labels=names)
    assert found == pytest.approx(
        np.mean([roc_auc_score(true == c, logits[:, c]) for c in range(3)])
    )


def test_binary_scores_do_not_depend_on_how_classes_are_spelled():
    rng = np.random.default_rng(2)
    ill = rng.random(50) < 0.2
    score = ill + rng.normal(size=50)
    both = np.mean([average_precision_score(ill, score), average_precision_score(~ill, -score)])
    named = np.where(ill, "ill", "well")
    # "ill" sorts before "well": the score of the second class is minus that of the first.
    assert macro_average_precision_score(named, -score) == pytest.approx(both)
    assert macro_average_precision_score(ill, score) == pytest.approx(both)
    assert macro_roc_auc_score(named, -score) == pytest.approx(roc_auc_score(ill, score))


def test_an_absent_class_leaves_areas_undefined():
    assert np.isnan(macro_roc_auc_score([0, 1], np.eye(3)[:2], labels=[0, 1, 2]))
    assert np.isnan(macro_average_precision_score([0, 0], [0.1, 0.2], labels=[0, 1]))


def test_calibration_error_by_hand():
    # Confidences 0.6, 0.6, 0.9, 0.9; right, wrong, right, right: |1/2 - 0.6| and |1 - 0.9|.
    true = [0, 1, 0, 0]
    prob = [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]]
    assert expected_calibration_error(true, prob, n_bins=10) == pytest.approx(0.1)
    assert expected_calibration_error(true, prob, n_bins=1) == pytest.approx(0.0)
    weighted = expected_calibration_error(true, prob, sample_weight=[3, 1, 1, 1])
    assert weighted == pytest.approx((4 * abs(3 / 4 - 0.6) + 2 * 0.1) / 6)
    halves = expected_calibration_error(true, prob, n_bins=2, strategy="quantile")
    assert halves == pytest.approx(0.1)


def test_calibration_error_at_the_edges():
    # Probabilities of 0 and 1 are probabilities.
    assert expected_calibration_error([0, 1], np.eye(2)) == 0
    assert expected_calibration_error([1, 0], np.eye(2)) == 1
    # Rows may miss one by rounding to three digits.
    assert expected_calibration_error([0, 1], [[1.0, 0.0], [0.0, 0.9995]]) == pytest.approx(0.00025)
    # As many bins as are taken: every case is alone, |1 - 0.6| and |0 - 0.7|.
    found = expected_calibration_error([0, 1], [[0.6, 0.4], [0.7, 0.3]], n_bins=10**6)
    assert found == pytest.approx(0.55)
    # One column, lying or standing.
    standing = expected_calibration_error([0, 1, 1], [[0.2], [0.7], [0.4]])
    assert standing == expected_calibration_error([0, 1, 1], [0.2, 0.7, 0.4])


def test_calibration_error_of_the_second_class_column():
    rng = np.random.default_rng(3)
    p = rng.random(200)
    y = (rng.random(200) < p).astype(int)
    both = np.column_stack([1 - p, p])
    assert expected_calibration_error(y, p) == pytest.approx(expected_calibration_error(y, both))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), n_bins=st.integers(1, 20))
def test_calibration_error_invariants(seed, n, n_bins):
    true, prob = probabilities(n, 3, seed)
    labels = [0, 1, 2]
    found = expected_calibration_error(true, prob, labels=labels, n_bins=n_bins)
    assert 0 <= found <= 1
    order = np.random.default_rng(seed).permutation(n)
    shuffled = expected_calibration_error(true[order], prob[order], labels=labels, n_bins=n_bins)
    assert shuffled == pytest.approx(found)
    # One bin gives the difference of the means, which no binning can undercut.
    one = expected_calibration_error(true, prob, labels=labels, n_bins=1)
    assert found >= one - 1e-12


def test_an_area_scorer_takes_a_classifier_without_probabilities():
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 4)) + y[:, None]
    model = RidgeClassifier().fit(X, y)
    found = get_scorer("roc_auc_ovr")(model, X, y)
    assert found == pytest.approx(macro_roc_auc_score(y, model.decision_function(X)))


def test_an_area_scorer_refuses_decision_values_of_pairs_of_classes():
    y = np.repeat([0, 1, 2], 10)
    X = np.random.default_rng(5).normal(size=(30, 2)) + y[:, None]
    model = SVC(decision_function_shape="ovo").fit(X, y)
    with pytest.raises(ValueError, match="belong to pairs of the 3 classes"):
        get_scorer("roc_auc_ovr")(model, X, y)


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (macro_roc_auc_score, ([0, 1], np.eye(3)[:2]), {}, "3 columns but there are 2 classes"),
        (macro_roc_auc_score, ([0, 2], [0.1, 0.2]), {"labels": [0, 1]}, r"\[2\].*lacks"),
        (macro_roc_auc_score, ([0, 1], [0.1, np.nan]), {}, "NaN or infinity"),
        (macro_average_precision_score, ([0, 1], [0.1]), {}, "inconsistent numbers of samples"),
        (expected_calibration_error, ([0, 1], [0.1, 1.4]), {}, "must hold probabilities"),
        (expected_calibration_error, ([0, 1], [[0.1, 0.2], [1, 0]]), {}, "rows that sum to 1"),
        (expected_calibration_error, ([0, 1], [0.1, 0.4]), {"n_bins": 0}, "n_bins=0"),
        (expected_calibration_error, ([0, 1], [0.1, 0.4]), {"n_bins": 10**6 + 1}, "n_bins=1000001"),
        (expected_calibration_error, ([0, 1], [[0.5, 0.5015], [1, 0]]), {}, "rows that sum to 1"),
        (expected_calibration_error, ([0, 1], [-0.1, 0.4]), {}, "must hold probabilities"),
        (expected_calibration_error, ([0, 1], [0.1, 0.4]), {"strategy": "x"}, "strategy='x'"),
    ],
)
def test_bad_input_is_named(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)
