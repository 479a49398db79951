"""What is read off a scorer: whether it needs every class, and which class is its positive one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    fbeta_score,
    get_scorer,
    make_scorer,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

from skcyto.metrics import get_scorer as own_scorer
from skcyto.metrics import make_recall_scorer
from skcyto.metrics._class_dependence import (
    adapt_scorer,
    describe_scorer,
    is_of_labels,
    needs_every_class,
    positive_class,
    takes_pos_label,
    try_scorer,
    with_keywords,
)

BINARY_F1 = make_scorer(f1_score)


def by_hand(estimator, X, y):
    return 0.5


@pytest.mark.parametrize(
    ("scorer", "needs"),
    [
        (by_hand, False),
        (get_scorer("accuracy"), False),
        (own_scorer("accuracy"), False),
        (own_scorer("f1_macro"), True),
        (own_scorer("roc_auc_ovr"), True),
        (own_scorer("neg_log_loss"), False),
        (get_scorer("matthews_corrcoef"), True),
        (get_scorer("balanced_accuracy"), True),
        (get_scorer("f1"), True),
        (get_scorer("f1_macro"), True),
        # Sums over cases: a class without a case has no part in them.
        (get_scorer("f1_micro"), False),
        (get_scorer("recall_weighted"), False),
        # The user has named the classes.
        (make_scorer(recall_score, labels=["ill"], average="macro"), False),
        (make_recall_scorer("ill"), False),
    ],
)
def test_scores_that_a_missing_class_leaves_undefined(scorer, needs):
    assert needs_every_class(scorer) is needs


def test_only_scores_of_labels_can_be_pooled():
    assert is_of_labels(get_scorer("accuracy"))
    assert not is_of_labels(get_scorer("roc_auc"))
    assert not is_of_labels(own_scorer("neg_log_loss"))
    assert not is_of_labels(by_hand)


def test_the_rarer_of_two_classes_is_the_positive_one():
    classes = np.array(["ill", "well"])
    assert positive_class(classes, np.array([0, 1, 1]), None) == "ill"
    assert positive_class(classes, np.array([0, 0, 1]), None) == "well"
    # Of equally many the second, as everywhere in scikit-learn.
    assert positive_class(classes, np.array([0, 1, 1, 0]), None) == "well"
    # One that has no case is the rarer one.
    assert positive_class(classes, np.array([0, 0]), None) == "well"
    assert positive_class(classes, np.array([0, 0, 1]), "ill") == "ill"
    assert positive_class(np.array([0, 1, 2]), np.array([0, 1, 2]), None) is None


@pytest.mark.parametrize(
    ("classes", "pos_label", "message"),
    [
        (["a", "b"], "c", r"pos_label='c' is no class of y: \['a', 'b'\]"),
        (["a", "b", "c"], "a", r"pos_label='a' is for two classes; y holds 3: \['a', 'b', 'c'\]"),
    ],
)
def test_a_positive_class_that_can_be_none_is_refused(classes, pos_label, message):
    with pytest.raises(ValueError, match=message):
        positive_class(np.array(classes), np.zeros(2, dtype=int), pos_label)


@pytest.mark.parametrize(
    ("scorer", "takes"),
    [
        (BINARY_F1, True),
        (make_scorer(fbeta_score, beta=2), True),
        (make_scorer(precision_score, average=None), True),
        (make_scorer(f1_score, pos_label="ill"), False),
        (make_scorer(f1_score, average="macro"), False),
        (make_scorer(f1_score, labels=["ill"]), False),
        (make_scorer(accuracy_score), False),
        (make_scorer(matthews_corrcoef), False),
        (by_hand, False),
    ],
)
def test_scores_of_one_of_two_classes(scorer, takes):
    assert takes_pos_label(scorer) is takes


TRUE = np.array(["ill", "ill", "ill", "well", "well"])
PREDICTED = np.array(["ill", "ill", "well", "ill", "well"])


class Says:
    """Answers what it was told."""

    def __init__(self, predicted, classes=("ill", "well")):
        self.classes_ = np.array(classes)
        self.predicted = predicted
        self.__class__._estimator_type = "classifier"

    def __sklearn_tags__(self):
        return DummyClassifier().__sklearn_tags__()

    def predict(self, X):
        return self.predicted

    def predict_proba(self, X):
        return self.predicted


def test_a_score_of_one_class_is_told_which():
    # Of "ill": 2 found, 1 missed, 1 false: precision and recall 2/3.
    ill = adapt_scorer(BINARY_F1, np.array(["ill", "well"]), "ill")
    assert ill(Says(PREDICTED), np.zeros((5, 1)), TRUE) == pytest.approx(2 / 3)
    # Of "well": 1 found, 1 missed, 1 false.
    well = adapt_scorer(BINARY_F1, np.array(["ill", "well"]), "well")
    assert well(Says(PREDICTED), np.zeros((5, 1)), TRUE) == pytest.approx(1 / 2)
    assert "pos_label" not in BINARY_F1._kwargs
    assert adapt_scorer(BINARY_F1, np.array(["ill", "well"]), None) is BINARY_F1


def test_a_score_of_probabilities_is_told_the_classes_that_a_fold_may_lack():
    prob = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
    classes = np.array(["a", "b", "c"])
    told = adapt_scorer(own_scorer("neg_log_loss"), classes, None)
    found = told(Says(prob, classes), np.zeros((2, 1)), np.array(["a", "b"]))
    assert found == pytest.approx(np.log(0.5))
    # Scores of labels take no more than the labels that occur.
    labels = own_scorer("f1_macro")
    assert adapt_scorer(labels, classes, None) is labels
    assert adapt_scorer(by_hand, classes, "a") is by_hand
    area = make_scorer(roc_auc_score, response_method="predict_proba")
    assert adapt_scorer(area, classes, None) is area
    named = with_keywords(own_scorer("neg_log_loss"), labels=["a", "b", "c"])
    assert adapt_scorer(named, np.array(["a", "b"]), None) is named


def test_a_changed_scorer_keeps_its_sign_its_response_and_its_metadata():
    loss = own_scorer("neg_log_loss")
    changed = with_keywords(loss, labels=["a", "b"])
    assert (changed._sign, changed._response_method) == (-1, "predict_proba")
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        weighted = BINARY_F1.__class__(f1_score, 1, {}, "predict").set_score_request(
            sample_weight="weight"
        )
        changed = with_keywords(weighted, pos_label="ill")
        routed = changed.get_metadata_routing().score.requests
        assert routed["sample_weight"] == "weight"
        assert changed._kwargs == {"pos_label": "ill"}


def rows(n_each=12, classes=("a", "b", "c")):
    y = np.repeat(np.array(classes), n_each)
    return pd.DataFrame({"value": np.arange(len(y), dtype=float)}), y


def test_a_scorer_is_tried_on_ten_rows_of_every_class():
    X, y = rows()
    seen = []

    def scorer(estimator, part, labels):
        seen.append((part["value"].tolist(), labels.tolist()))
        assert estimator.predict_proba(np.zeros((1, 1))).shape == (1, 3)
        return 0.5

    try_scorer("own", scorer, X, y)
    expected = [*range(10), *range(12, 22), *range(24, 34)]
    assert seen == [(expected, ["a"] * 10 + ["b"] * 10 + ["c"] * 10)]


def test_a_scorer_that_asks_for_what_only_the_estimator_has_is_let_through():
    X, y = rows()
    try_scorer("own", lambda model, part, labels: model["select"].scores_, X, y)
    try_scorer("own", lambda model, part, labels: model["select"], X, y)
    try_scorer("own", lambda model, part, labels: {}["missing"], X, y)


def test_several_scores_are_a_dict_of_numbers():
    X, y = rows()
    both = lambda model, part, labels: {"one": 1, "two": np.float32(0.5)}  # noqa: E731
    try_scorer("own", both, X, y, several=True)
    with pytest.raises(ValueError, match=r"scoring by 'own' must give a number, not \{'one': 1"):
        try_scorer("own", both, X, y)
    with pytest.raises(ValueError, match=r"scoring by 'two' must give a number, not 'much'"):
        try_scorer("own", lambda *_: {"one": 1.0, "two": "much"}, X, y, several=True)


@pytest.mark.parametrize("value", [np.ones(2), None, "0.5", [0.5]])
def test_a_scorer_that_gives_no_number_is_refused(value):
    X, y = rows()
    with pytest.raises(ValueError, match=r"scoring by 'own' must give a number"):
        try_scorer("own", lambda *_: value, X, y)


def test_a_metric_in_place_of_a_scorer_is_named():
    X, y = rows()
    with pytest.raises(ValueError, match=r"'f1' is a metric, f1_score, and no scorer: sklearn"):
        try_scorer("f1", f1_score, X, y)
    message = r"scoring by 'own' fails on 30 rows of all classes, before .* fitted: ZeroDivision"
    with pytest.raises(ValueError, match=message):
        try_scorer("own", lambda *_: 1 / 0, X, y)


def test_facts_of_a_scorer_whose_number_follows_from_the_order_of_cases():
    classes = np.array(["ill", "well"])
    facts = describe_scorer(get_scorer("roc_auc"), classes, "ill")
    # The area has no positive class to be told: scores are of the class that sorts last.
    assert (facts.pos_label, facts.code) == (None, 1)
    assert (facts.needs_every_class, facts.of_labels, facts.ranks_cases) == (True, False, True)
    # Three of four pairs in order.
    score = np.array([0.1, 0.4, 0.35, 0.8])
    assert facts.of_ranks(np.array([False, False, True, True]), score) == pytest.approx(0.75)
    precision = describe_scorer(get_scorer("average_precision"), classes, "ill")
    assert (precision.pos_label, precision.code) == ("ill", 0)
    assert precision.scorer._kwargs == {"pos_label": "ill"}
    # Found at thresholds 0.8 and 0.35: precision 1/1 and 2/3.
    found = precision.of_ranks(np.array([False, False, True, True]), score)
    assert found == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    "scorer",
    [
        get_scorer("accuracy"),
        own_scorer("roc_auc_ovr"),
        make_scorer(roc_auc_score, response_method="predict_proba"),
        make_scorer(
            roc_auc_score,
            response_method=("decision_function", "predict_proba"),
            greater_is_better=False,
        ),
        make_scorer(
            roc_auc_score, response_method=("decision_function", "predict_proba"), max_fpr=0.1
        ),
    ],
)
def test_other_scorers_have_no_short_way(scorer):
    assert describe_scorer(scorer, np.array([0, 1]), None).of_ranks is None


def test_three_classes_and_scorers_of_others_have_no_short_way():
    assert describe_scorer(get_scorer("roc_auc"), np.array([0, 1, 2]), None).of_ranks is None
    assert describe_scorer(by_hand, np.array([0, 1]), None) is None


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        ("roc_auc", True),
        ("average_precision", True),
        ("roc_auc_ovr", True),
        ("accuracy", False),
        ("neg_log_loss", False),
        # Of the order of classes within a case, not of cases.
        ("top_k_accuracy", False),
    ],
)
def test_scores_of_the_order_of_cases(name, ranks):
    facts = describe_scorer(get_scorer(name), np.array([0, 1]), None)
    assert facts.ranks_cases is ranks


def test_a_score_of_decision_values_alone_ranks_cases():
    scorer = make_scorer(f1_score, response_method="decision_function")
    assert describe_scorer(scorer, np.array([0, 1]), None).ranks_cases
    either = make_scorer(f1_score, response_method=("predict_proba", "predict"))
    assert not describe_scorer(either, np.array([0, 1]), None).ranks_cases
