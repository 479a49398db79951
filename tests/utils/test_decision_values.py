"""Decision values of pairs of classes are not taken for those of classes."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skcyto.inspection import explain
from skcyto.metrics import get_scorer
from skcyto.model_selection import TunedLogitBiasClassifierCV
from skcyto.utils._decision_values import class_decision_values, decides_by_pairs

X, y = load_iris(return_X_y=True)
PAIRS = SVC(decision_function_shape="ovo")


@pytest.mark.parametrize(
    "classifier",
    [
        PAIRS,
        make_pipeline(StandardScaler(), PAIRS),
        GridSearchCV(make_pipeline(StandardScaler(), PAIRS), {"svc__C": [1.0]}, cv=2),
    ],
    ids=["alone", "pipeline", "search"],
)
def test_pairs_are_refused_wherever_classes_are_needed(classifier):
    fitted = classifier.fit(X, y)
    assert decides_by_pairs(fitted)
    with pytest.raises(ValueError, match=r"pairs of the 3 classes.*decision_function_shape='ovr'"):
        explain(fitted, X[:2], background=5, random_state=0)
    with pytest.raises(ValueError, match="pairs of the 3 classes"):
        TunedLogitBiasClassifierCV(classifier, cv=2).fit(X, y)
    for name in ("roc_auc_ovr", "average_precision_macro"):
        with pytest.raises(ValueError, match="pairs of the 3 classes"):
            get_scorer(name)(fitted, X, y)


def test_two_classes_have_no_pairs():
    fitted = PAIRS.fit(X[:100], y[:100])
    assert not decides_by_pairs(fitted)
    values = class_decision_values(fitted, X[:100])
    np.testing.assert_array_equal(values[:, 1], -values[:, 0])
    assert get_scorer("roc_auc_ovr")(fitted, X[:100], y[:100]) == 1.0


def test_classes_stay_as_they_are():
    fitted = LinearSVC().fit(X, y)
    np.testing.assert_array_equal(class_decision_values(fitted, X), fitted.decision_function(X))
    expected = np.mean([roc_auc_score(y == k, fitted.decision_function(X)[:, k]) for k in range(3)])
    assert get_scorer("roc_auc_ovr")(fitted, X, y) == pytest.approx(expected)
    # A part of a stack decides for itself, not for the stack.
    stack = StackingClassifier([("svc", PAIRS)], LogisticRegression(), cv=2).fit(X, y)
    assert not decides_by_pairs(stack)


def test_more_pairs_than_classes_are_refused_by_their_number():
    labels = np.arange(len(X)) % 4
    fitted = SVC(decision_function_shape="ovo").fit(X, labels)
    with pytest.raises(ValueError, match="6 columns for 4 classes"):
        class_decision_values(fitted, X)
