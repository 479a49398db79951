"""suggest_space: values that the estimators take, names that searches find."""

import warnings

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterSampler, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.exceptions import ImbalanceWarning
from skcyto.feature_extraction import EVA02TokenEmbedder, RadiomicsExtractor
from skcyto.feature_selection import CorrelationTTestFilter, ImportanceThresholdSelector
from skcyto.losses import available, get_loss
from skcyto.model_selection import OptunaSearchCV, suggest_space
from skcyto.model_selection._search._space import make_space
from skcyto.model_selection._search._suggest_space import _SPACES
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
from skcyto.utils import all_estimators

# Estimators of skcyto without a space of their own, and why.
WITHOUT = {
    "OptunaSearchCV": "searches by itself",
    "RadiomicsExtractor": "its settings define what is measured",
    "TunedLogitBiasClassifierCV": "tunes itself; its model has a space",
}


def test_every_estimator_has_a_space_or_a_reason():
    names = {name for name, _ in all_estimators()}
    assert set(_SPACES) <= names
    assert names - set(_SPACES) <= set(WITHOUT)


def samples(estimator, n=60):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The total space of parameters")
        return list(ParameterSampler(suggest_space(estimator), n, random_state=0))


@pytest.mark.parametrize(
    "estimator",
    [
        EVA02TokenEmbedder(),
        EVA02Classifier(),
        EVA02Classifier(class_weight="balanced", sampler="stratified"),
        ImportanceThresholdSelector(LogisticRegression()),
        CorrelationTTestFilter(),
        ImbalancedMLPClassifier(),
        *(ImbalancedMLPClassifier(loss=loss) for loss in available()),
        ImbalancedMLPClassifier(class_weight="balanced"),
        ImbalancedMLPClassifier(sampler="balanced"),
    ],
    ids=lambda estimator: repr(estimator),
)
def test_values_are_valid(estimator):
    for params in samples(estimator):
        candidate = clone(estimator).set_params(**params)
        candidate._validate_params()
    # optuna has a distribution for all of them.
    space = make_space(suggest_space(estimator))
    assert space.fingerprint() == make_space(suggest_space(estimator)).fingerprint()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"class_weight": "balanced"},
        {"sampler": "balanced"},
        {"sampler": "stratified"},
        {"sampler": "grouped"},
    ],
    ids=str,
)
def test_losses_go_with_what_was_chosen(settings):
    """No suggested loss corrects for the imbalance a second time."""
    X, y = make_classification(120, 4, weights=[0.8], random_state=0)
    estimator = ImbalancedMLPClassifier((4,), max_epochs=1, device="cpu", **settings)
    losses = suggest_space(estimator)["loss"]
    assert "focal" in losses
    with warnings.catch_warnings():
        warnings.simplefilter("error", ImbalanceWarning)
        for loss in losses:
            clone(estimator).set_params(loss=loss).fit(X, y)


def test_every_loss_and_sampler_is_offered_somewhere():
    settings = [{}, *({"sampler": name} for name in ("balanced", "stratified", "grouped"))]
    spaces = [suggest_space(ImbalancedMLPClassifier(**params)) for params in settings]
    assert set().union(*(space["loss"] for space in spaces)) == set(available())
    space = suggest_space(ImbalancedMLPClassifier(loss="focal"))
    assert space["sampler"] == [None, "balanced", "stratified"]
    # A loss that corrects for the counts leaves no sampler that does it again.
    space = suggest_space(ImbalancedMLPClassifier(loss="balanced_softmax"))
    assert space["sampler"] == [None, "stratified"]
    assert "sampler" not in suggest_space(ImbalancedMLPClassifier(loss="focal", sampler="grouped"))


def test_parameters_of_a_chosen_loss():
    for loss in available():
        if loss == "ce":
            continue
        space = suggest_space(ImbalancedMLPClassifier(loss=loss))
        assert "loss" not in space
        nested = {name for name in space if name.startswith("loss__")}
        known = {f"loss__{name}" for name in get_loss(loss).get_params()}
        assert nested <= known
    assert {"loss__beta", "loss__gamma"} <= set(
        suggest_space(ImbalancedMLPClassifier(loss=get_loss("class_balanced")))
    )


def test_names_in_pipelines():
    pipeline = make_pipeline(
        FeatureUnion([("tokens", EVA02TokenEmbedder()), ("radiomics", RadiomicsExtractor())]),
        StandardScaler(),
        ImportanceThresholdSelector(RandomForestClassifier()),
        SelectFromModel(ImbalancedMLPClassifier()),
        ImbalancedMLPClassifier(loss="focal"),
    )
    space = suggest_space(pipeline)
    assert {
        "featureunion__tokens__tokens",
        "importancethresholdselector__threshold",
        "selectfrommodel__estimator__loss",
        "imbalancedmlpclassifier__loss__gamma",
        "imbalancedmlpclassifier__learning_rate",
    } <= set(space)
    assert set(space) <= set(pipeline.get_params()) | {"imbalancedmlpclassifier__loss__gamma"}


def test_searches_within_are_left_alone():
    inner = GridSearchCV(ImbalancedMLPClassifier(), {"dropout": [0.1]})
    pipeline = make_pipeline(CorrelationTTestFilter(), inner)
    assert {name.split("__")[0] for name in suggest_space(pipeline)} == {"correlationttestfilter"}
    assert "dropout" in suggest_space(inner.estimator)


@pytest.mark.parametrize("estimator", [LogisticRegression(), RadiomicsExtractor()])
def test_nothing_to_suggest(estimator):
    with pytest.raises(ValueError, match="holds no estimator of skcyto that has a space"):
        suggest_space(estimator)


@pytest.mark.parametrize("kind", [OptunaSearchCV, RandomizedSearchCV])
def test_both_searches_take_it(kind):
    X, y = make_classification(150, 8, n_informative=5, weights=[0.8], random_state=0)
    mlp = ImbalancedMLPClassifier(max_epochs=2, device="cpu", random_state=0)
    pipeline = make_pipeline(StandardScaler(), CorrelationTTestFilter(alpha=1.0), mlp)
    space = suggest_space(pipeline)
    # The dict is the user's to change.
    space["imbalancedmlpclassifier__hidden_layer_sizes"] = [(4,), (0.5,)]
    space["correlationttestfilter__alpha"] = loguniform(0.5, 1.0)
    n = {"n_trials": 5} if kind is OptunaSearchCV else {"n_iter": 5}
    search = kind(pipeline, space, cv=2, random_state=0, error_score="raise", **n).fit(X, y)
    assert set(search.best_params_) == set(space)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
