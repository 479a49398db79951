"""scikit-learn's estimator checks on every public estimator, which are discovered.

How each estimator is constructed here and which checks it cannot pass, and why, stands in
``ESTIMATORS`` and ``expected_failed_checks`` alone. Each reason names the test that replaces the
check.
"""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcyto.feature_extraction import EVA02TokenEmbedder, RadiomicsExtractor
from skcyto.feature_selection import (
    CorrelationTTestFilter,
    ImportanceThresholdSelector,
    ReproducibilityFilter,
)
from skcyto.losses import available
from skcyto.model_selection import OptunaSearchCV, TunedLogitBiasClassifierCV
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
from skcyto.utils import all_estimators

# Small and short: the checks fit each estimator some sixty times on a few rows.
MLP = {"hidden_layer_sizes": (32,), "max_epochs": 15, "batch_size": 32, "learning_rate": 0.05}


class _MeasuredTwice(ReproducibilityFilter):
    """Gives the filter a second measurement, without which it has nothing to compare with."""

    def fit(self, X, y=None):
        return super().fit(X, y, repeats=X)


ESTIMATORS = {
    CorrelationTTestFilter: [CorrelationTTestFilter()],
    # Images and scans are no tables, and scikit-learn has no checks for them: what stands in for
    # the checks is tests/feature_extraction/test_embedder.py and radiomics/test_radiomics_*.py,
    # and tests/neural_network/test_eva02_classifier.py.
    EVA02Classifier: [],
    EVA02TokenEmbedder: [],
    ImbalancedMLPClassifier: [ImbalancedMLPClassifier(**MLP, loss=loss) for loss in available()],
    ImportanceThresholdSelector: [ImportanceThresholdSelector(LogisticRegression())],
    OptunaSearchCV: [OptunaSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=2, cv=2)],
    RadiomicsExtractor: [],
    ReproducibilityFilter: [_MeasuredTwice()],
    TunedLogitBiasClassifierCV: [TunedLogitBiasClassifierCV(LogisticRegression(), cv=2)],
}


def instances():
    return [estimator for cases in ESTIMATORS.values() for estimator in cases]


def expected_failed_checks(estimator):
    if isinstance(estimator, TunedLogitBiasClassifierCV):
        return {
            "check_classifiers_train": (
                "the decision is tuned and the probabilities are left alone, as in scikit-learn's "
                "TunedThresholdClassifierCV, so predict is not their argmax: "
                "tests/model_selection/logit_bias/test_logit_bias.py::test_predict_is_argmax_of_biased_scores"
            )
        }
    if not isinstance(estimator, ImbalancedMLPClassifier):
        return {}
    tests = "tests/neural_network/test_imbalanced_mlp.py::"
    failures = {
        "check_sample_weight_equivalence_on_dense_data": (
            "batches and validation rows are drawn at random, which repeated rows change: "
            f"{tests}test_sample_weight_two_is_duplication"
        )
    }
    if estimator.loss == "class_balanced":
        failures["check_class_weight_classifiers"] = (
            "its class weights are its own and others are refused: "
            f"{tests}test_class_balanced_refuses_other_class_weights"
        )
    if estimator.loss in ("minimax", "group_dro"):
        failures["check_class_weight_classifiers"] = (
            "it compares the mean losses of the classes, in which a class weight cancels: "
            f"{tests}test_class_weights_cancel_in_group_losses"
        )
    return failures


def test_every_public_estimator_is_listed():
    assert set(ESTIMATORS) == {cls for _, cls in all_estimators()}


# The checks feed tiny and odd data on purpose, of which the estimators rightly warn.
@pytest.mark.filterwarnings("default")
@parametrize_with_checks(instances(), expected_failed_checks=expected_failed_checks)
def test_estimator_checks(estimator, check):
    check(estimator)
