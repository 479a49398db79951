"""A card says what its objects say, and where people have not said what only they know."""

import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto.inspection import explain
from skcyto.model_selection import TunedLogitBiasClassifierCV, compare_models
from skcyto.neural_network import ImbalancedMLPClassifier


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
    model = LogisticRegression(C=3).fit(*data)  # the only candidate need not have its parameters
    limits = sections(skcyto.model_card(model, single))["Limits"]
    assert "Cases were not grouped" in limits
    assert "compared on the same" not in limits


def test_which_candidate(data, comparison):
    ridge = RidgeClassifier().fit(*data)
    assert "gives no probabilities" in sections(skcyto.model_card(ridge, comparison))["Calibration"]
    other = LogisticRegression(C=7).fit(*data)
    with pytest.raises(ValueError, match=r"0 of \['net', 'logistic', 'ridge'\] have its"):
        skcyto.model_card(other, comparison)
    assert "`logistic`:" in skcyto.model_card(other, comparison, candidate="logistic")
    with pytest.raises(ValueError, match="there is no model 'tree'"):
        skcyto.model_card(other, comparison, candidate="tree")
