"""A card says what its objects say, and where people have not said what only they know."""

import re
import warnings

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto.inspection import explain
from skcyto.model_selection import TunedLogitBiasClassifierCV, compare_models
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.persistence._card._candidate import differences


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(
        300, 8, n_informative=5, n_classes=3, weights=[0.6, 0.3, 0.1], random_state=0
    )
    return X, np.array(["healthy", "rubbish", "un|healthy"])[y]


@pytest.fixture(scope="module")
def network(data):
    classifier = ImbalancedMLPClassifier(
        (8,), loss="focal", class_weight="balanced", max_epochs=5, random_state=0
    )
    return make_pipeline(StandardScaler(), classifier).fit(*data)


@pytest.fixture(scope="module")
def comparison(data, network):
    models = {"net": network, "logistic": LogisticRegression(), "ridge": RidgeClassifier()}
    groups = np.arange(300) // 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compare_models(models, *data, cv=3, groups=groups, random_state=0)


def sections(card):
    """Text of each section by its heading."""
    parts = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text):
    """Cells of the first table of a text, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_numbers_are_those_of_the_comparison(network, comparison, data):
    found = sections(skcyto.model_card(network, comparison))
    counts = {name: int((data[1] == name).sum()) for name in np.unique(data[1])}
    assert [row[:2] for row in rows(found["Data"])] == [
        [name.replace("|", "\\|"), str(count)] for name, count in counts.items()
    ]
    assert "300 cases, of 100 groups" in found["Data"]
    table = comparison.table()
    scores = {row[0]: row[1:] for row in rows(found["Scores"])}
    assert scores["macro F1"] == [
        f"{table.loc['net', ('f1_macro', 'mean')]:.3f}",
        f"{table.loc['net', ('f1_macro', 'std')]:.3f}",
        f"{table.loc['net', ('f1_macro', 'ci_low')]:.3f} to "
        f"{table.loc['net', ('f1_macro', 'ci_high')]:.3f}",
    ]
    assert "logistic" in found["Scores"]
    shares = [float(row[2].rstrip("%")) for row in rows(found["Calibration"])]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert "3 folds, seed" in found["Folds"]
    assert "No group is in the training and the test part" in found["Folds"]


def test_loss_prior_and_steps_are_those_of_the_model(network):
    found = sections(skcyto.model_card(network))
    classifier = network[-1]
    assert "minimised `Focal()`" in found["Loss"]
    assert [float(row[2]) for row in rows(found["Loss"])] == pytest.approx(
        classifier.class_weight_, rel=1e-3
    )
    assert "not under the shares of the classes" in found["Prior and decision"]
    assert "they are no frequencies" in found["Limits"]
    assert "`class_weight='balanced'`" in found["Model"]
    assert "Scores" not in found
    assert "no scores were given" in found["Limits"]


@pytest.mark.parametrize("restore", [True, False])
def test_the_epoch_that_is_kept(data, restore):
    classifier = ImbalancedMLPClassifier(
        (64,), learning_rate=0.1, max_epochs=40, restore_best_weights=restore, random_state=0
    ).fit(*data)
    assert classifier.best_epoch_ < classifier.n_iter_
    kept = classifier.best_epoch_ if restore else classifier.n_iter_
    assert f"Epoch {kept} of {classifier.n_iter_} is kept" in skcyto.model_card(classifier)


def test_given_prior_and_tuned_decision(data):
    classifier = ImbalancedMLPClassifier(
        (8,), predict_proba_prior=[0.2, 0.3, 0.5], max_epochs=3, random_state=0
    )
    model = TunedLogitBiasClassifierCV(classifier, cv=2).fit(*data)
    prior = sections(skcyto.model_card(model))["Prior and decision"]
    assert "healthy: 0.2, rubbish: 0.3, un\\|healthy: 0.5" in prior
    assert f"rubbish {model.best_bias_[1]:+.3f}" in prior
    assert "need not be the most probable one" in prior


def test_features_of_an_explanation(network, data):
    explanation = explain(network, data[0][:20], background=10, random_state=0)
    found = sections(skcyto.model_card(network, explanation=explanation, top=3))
    expected = explanation.global_importance(random_state=0)
    assert [row[0].strip("`") for row in rows(found["Features"])] == list(expected.index[:3])
    assert float(rows(found["Features"])[0][1]) == pytest.approx(
        expected["importance"].iloc[0], rel=1e-3
    )
    assert "not what causes a disease" in found["Limits"]


def test_what_people_have_to_say(network, tmp_path):
    unstated = "_Not stated by the authors of this model._"
    found = sections(skcyto.model_card(network))
    assert all(unstated in found[name] for name in ("Intended use", "Limits", "Data"))
    card = skcyto.model_card(
        network,
        title="Cells",
        data="From one clinic.",
        intended_use="Research.",
        limits="Not for children.",
        path=tmp_path / "card.md",
    )
    assert card.startswith("# Cells\n")
    assert unstated not in card
    assert all(text in card for text in ("From one clinic.", "Research.", "Not for children."))
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == card
    path = skcyto.save(network, tmp_path / "model", card=card)
    assert (path / "README.md").read_text(encoding="utf-8") == card
    skcyto.load(path)


def test_limits_that_follow_from_the_data(data, comparison, network):
    limits = sections(skcyto.model_card(network, comparison))["Limits"]
    few = int((data[1] == "un|healthy").sum())
    assert f"Few cases: un\\|healthy ({few})" in limits
    assert "one of 3 that were compared" in limits
    assert "not grouped" not in limits
    single = compare_models({"a": LogisticRegression()}, *data, cv=2, random_state=0)
    model = LogisticRegression().fit(*data)
    limits = sections(skcyto.model_card(model, single))["Limits"]
    assert "Cases were not grouped" in limits
    assert "compared on the same" not in limits


def test_which_candidate(data, comparison):
    ridge = RidgeClassifier().fit(*data)
    assert "gives no probabilities" in sections(skcyto.model_card(ridge, comparison))["Calibration"]
    logistic = LogisticRegression().fit(*data)
    assert "`logistic`:" in skcyto.model_card(logistic, comparison)
    assert "`logistic`:" in skcyto.model_card(logistic, comparison, candidate="logistic")
    with pytest.raises(ValueError, match="there is no model 'tree'"):
        skcyto.model_card(logistic, comparison, candidate="tree")
    twice = compare_models({"a": logistic, "b": logistic}, *data, cv=2, random_state=0)
    with pytest.raises(ValueError, match=r"\['a', 'b'\] have its parameters: give its name"):
        skcyto.model_card(logistic, twice)
    assert "`b`:" in skcyto.model_card(logistic, twice, candidate="b")


@pytest.mark.parametrize("candidate", ["logistic", None])
def test_scores_of_other_parameters_are_refused(data, comparison, candidate):
    other = LogisticRegression(C=7, fit_intercept=False).fit(*data)
    with pytest.raises(
        ValueError,
        match=r"C=1\.0 in the comparison, C=7 in the model; fit_intercept=True in the comparison, "
        r"fit_intercept=False in the model",
    ):
        skcyto.model_card(other, comparison, candidate=candidate)


def test_another_kind_of_model_and_other_classes_are_refused(data, comparison):
    model = LogisticRegression().fit(*data)
    with pytest.raises(ValueError, match="RidgeClassifier in the comparison, LogisticRegression"):
        skcyto.model_card(model, comparison, candidate="ridge")
    numbered = LogisticRegression().fit(data[0], np.arange(300) % 3)
    with pytest.raises(ValueError, match=r"tells apart \[0, 1, 2\], the comparison \['healthy'"):
        skcyto.model_card(numbered, comparison, candidate="logistic")


def columns(scaled=(0, 1), C=1.0, seed=None, n_jobs=None):
    """A pipeline whose parts are nested."""
    table = ColumnTransformer(
        [("scale", StandardScaler(), list(scaled))], remainder="passthrough", n_jobs=n_jobs
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    inner = CalibratedClassifierCV(LogisticRegression(C=C, random_state=seed), cv=folds)
    return Pipeline([("table", table), ("classifier", inner)])


@pytest.mark.parametrize(
    ("change", "listed"),
    [
        ({"C": 2}, ["classifier__estimator__C=1.0 in the comparison"]),
        ({"scaled": [0, 2]}, ["table__scale__columns=([0, 1],) in the comparison"]),
        ({"seed": 3, "n_jobs": 1}, []),
        ({"C": np.float64(1)}, []),
    ],
)
def test_nested_parameters_are_compared_and_seeds_are_not(data, change, listed):
    comparison = compare_models({"a": columns()}, *data, cv=2, scoring="accuracy", random_state=0)
    model = columns(**change).fit(*data)
    if not listed:
        assert "`a`:" in skcyto.model_card(model, comparison)
        return
    with pytest.raises(ValueError, match=re.escape(listed[0])):
        skcyto.model_card(model, comparison, candidate="a")


def test_a_model_that_a_search_found(data):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1, 10]}, cv=2)
    drawn = RandomizedSearchCV(pipeline, {"logisticregression__C": loguniform(0.1, 10)}, n_iter=2)
    comparison = compare_models(
        {"grid": search, "drawn": drawn}, *data, cv=2, scoring="accuracy", random_state=0
    )
    found = search.fit(*data)
    for model in (found, found.best_estimator_):
        assert "`grid`:" in skcyto.model_card(model, comparison, candidate="grid")
    assert "`drawn`:" in skcyto.model_card(found.best_estimator_, comparison, candidate="drawn")
    outside = clone(pipeline).set_params(logisticregression__C=5).fit(*data)
    with pytest.raises(ValueError, match=r"logisticregression__C=one of \[0.1, 1, 10\] in the com"):
        skcyto.model_card(outside, comparison, candidate="grid")
    other = clone(pipeline).set_params(standardscaler__with_mean=False).fit(*data)
    with pytest.raises(ValueError, match="standardscaler__with_mean=True in the comparison"):
        skcyto.model_card(other, comparison, candidate="drawn")


def test_a_frozen_model_is_the_one_inside(data):
    model = LogisticRegression(C=2).fit(*data)
    assert differences(model, FrozenEstimator(model)) == []
    assert differences(FrozenEstimator(model), clone(model)) == []
    assert [str(d) for d in differences(model, FrozenEstimator(LogisticRegression()))] == [
        "C=1.0 in the comparison, C=2 in the model"
    ]


def test_a_loaded_model_is_the_one_that_was_saved(data, network, comparison, tmp_path):
    loaded = skcyto.load(skcyto.save(network, tmp_path / "model"))
    assert "`net`:" in skcyto.model_card(loaded, comparison)
