"""Spaces: lists, scipy's and optuna's distributions, conditions, functions of the trial."""

import itertools
import json

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skcyto.losses import LDAM, Focal
from skcyto.model_selection import OptunaSearchCV
from skcyto.model_selection._search._space import make_space
from skcyto.neural_network import ImbalancedMLPClassifier


def suggestions(distribution, n=200):
    """Values that random trials get for a parameter, with the trials' own."""
    space = make_space({"p": distribution})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = []
    for _ in range(n):
        trial = study.ask()
        values.append(space.suggest(trial)["p"])
        study.tell(trial, 0.0)
        # What a storage gives back stands for the same parameter.
        assert np.array_equal(space.suggest(study.get_trials(deepcopy=False)[-1])["p"], values[-1])
        json.dumps(trial.params)
    return values, study.trials


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (stats.uniform(2.0, 3.0), FloatDistribution(2.0, 5.0)),
        (stats.uniform(loc=-1.0, scale=0.5), FloatDistribution(-1.0, -0.5)),
        (stats.loguniform(1e-3, 10.0), FloatDistribution(1e-3, 10.0, log=True)),
        (stats.reciprocal(a=1.0, b=2.0), FloatDistribution(1.0, 2.0, log=True)),
        (stats.loguniform(1.0, 2.0, scale=3.0), FloatDistribution(3.0, 6.0, log=True)),
        (stats.randint(2, 6), IntDistribution(2, 5)),
        (stats.randint(low=0, high=3), IntDistribution(0, 2)),
        (IntDistribution(2, 32, log=True), IntDistribution(2, 32, log=True)),
        (FloatDistribution(0, 1, step=0.25), FloatDistribution(0, 1, step=0.25)),
        (CategoricalDistribution(["a", "b"]), CategoricalDistribution(["a", "b"])),
        ([1, 2.5, None, "a", False], CategoricalDistribution([1, 2.5, None, "a", False])),
        (np.array([0.1, 1.0]), CategoricalDistribution([0.1, 1.0])),
        ((3, 4), CategoricalDistribution([3, 4])),
    ],
)
def test_distributions_that_optuna_has_too(distribution, expected):
    values, trials = suggestions(distribution, 5)
    assert trials[0].distributions == {"p": expected}
    assert [trial.params["p"] for trial in trials] == values


@pytest.mark.parametrize(
    "distribution",
    [
        stats.norm(10, 2),
        stats.expon(scale=0.1),
        stats.beta(2, 5),
        stats.loguniform(1.0, 10.0, loc=100.0),
        stats.lognorm(1.0),
    ],
    ids=lambda distribution: distribution.dist.name,
)
def test_other_continuous_distributions_go_by_quantile(distribution):
    values, trials = suggestions(distribution, 400)
    assert stats.kstest(values, distribution.cdf).pvalue > 0.01
    assert set(trials[0].params) == {"p:quantile"}
    assert np.isfinite(values).all()


def test_other_discrete_distributions_go_by_quantile():
    values, _ = suggestions(stats.poisson(3), 400)
    assert all(type(value) is int and value >= 0 for value in values)
    assert abs(np.mean(values) - 3) < 0.3


def test_anything_with_rvs_goes_by_seed():
    class Even:
        def rvs(self, random_state=None):
            return 2 * np.random.RandomState(random_state).randint(50)

    values, trials = suggestions(Even(), 50)
    assert all(value % 2 == 0 for value in values)
    assert len(set(values)) > 10
    assert set(trials[0].params) == {"p:seed"}


@given(
    st.lists(
        st.one_of(
            st.integers(-5, 5), st.booleans(), st.floats(allow_nan=False), st.text(), st.none()
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, max_examples=30)
def test_every_choice_comes_back_as_it_was(choices):
    values, _ = suggestions(choices, 15)
    assert all(any(value is choice for choice in choices) for value in values)


def test_choices_that_json_has_not():
    choices = [PCA(2), PCA(3), (10, 5), {"a": 1}, np.float64, "passthrough"]
    values, trials = suggestions(choices, 40)
    assert all(any(value is choice for choice in choices) for value in values)
    assert {"PCA(n_components=2)", "(10, 5)"} <= {trial.params["p"] for trial in trials}


def test_steps_of_a_pipeline_are_searched():
    X, y = load_iris(return_X_y=True)
    space = [
        {"reduce": [PCA()], "reduce__n_components": stats.randint(1, 4), "clf__C": [0.1, 1.0]},
        {"reduce": [SelectKBest()], "reduce__k": [1, 2, 3]},
        {"reduce": ["passthrough"]},
    ]
    pipeline = Pipeline([("reduce", PCA()), ("clf", LogisticRegression(max_iter=1000))])
    search = OptunaSearchCV(pipeline, space, n_trials=16, cv=3, random_state=0).fit(X, y)
    for params in search.cv_results_["params"]:
        names = set(params)
        kind = type(params["reduce"]).__name__
        if kind == "PCA":
            assert names == {"reduce", "reduce__n_components", "clf__C"}
        elif kind == "SelectKBest":
            assert names == {"reduce", "reduce__k"}
        else:
            assert names == {"reduce"}
    assert {type(p["reduce"]).__name__ for p in search.cv_results_["params"]} == {
        "PCA",
        "SelectKBest",
        "str",
    }
    masked = search.cv_results_["param_clf__C"]
    assert masked.mask.any()
    assert not masked.mask.all()


def test_conditional_spaces_keep_their_names_apart():
    X, y = load_iris(return_X_y=True)
    space = [
        {"kernel": ["linear"], "C": stats.loguniform(1e-2, 1e2)},
        {"kernel": ["rbf"], "C": stats.loguniform(1e-2, 1e2), "gamma": [0.1, 1.0]},
        {"kernel": ["poly"], "C": [1.0, 2.0], "gamma": [0.1, 1.0]},
    ]
    search = OptunaSearchCV(SVC(), space, n_trials=24, cv=3, random_state=0).fit(X, y)
    names = {name for trial in search.study_.trials for name in trial.params}
    assert {"subspace", "kernel[0]", "kernel[1]", "C[0]", "C[2]", "gamma"} <= names
    for params in search.cv_results_["params"]:
        assert (params["kernel"] == "poly") == (params["C"] in (1.0, 2.0))
        assert ("gamma" in params) == (params["kernel"] != "linear")


def define(trial):
    params = {"max_depth": trial.suggest_int("max_depth", 1, 4)}
    if params["max_depth"] > 2:
        params["min_samples_leaf"] = trial.suggest_int("leaf", 1, 20)
    return params


def test_a_function_of_the_trial():
    X, y = load_iris(return_X_y=True)
    tree = DecisionTreeClassifier(random_state=0)
    search = OptunaSearchCV(tree, define, n_trials=12, cv=3, random_state=0).fit(X, y)
    for params, trial in zip(search.cv_results_["params"], search.study_.trials, strict=True):
        assert ("min_samples_leaf" in params) == (params["max_depth"] > 2)
        assert params.get("min_samples_leaf") == trial.params.get("leaf")
    with pytest.raises(TypeError, match="must return a dict of parameters, not 3"):
        OptunaSearchCV(tree, lambda trial: 3).fit(X, y)


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ([], ValueError, "param_distributions is empty"),
        ([1], TypeError, "the list holds 1"),
        ({"C": 1.0}, TypeError, "a single value goes into a list"),
        ({"C": "abc"}, TypeError, "param_distributions\\['C'\\]='abc'"),
        ({"C": []}, ValueError, "has no value to choose from"),
        ({"C": np.ones((2, 2))}, ValueError, "one-dimensional"),
        ({1: [2]}, TypeError, "the name 1 must be a string"),
    ],
)
def test_bad_spaces(space, error, message):
    with pytest.raises(error, match=message):
        OptunaSearchCV(SVC(), space).fit([[0], [1]], [0, 1])


def test_fingerprints_tell_spaces_apart():
    spaces = [
        {"C": [0.1, 1.0]},
        {"C": [0.1, 1.1]},
        {"C": stats.uniform(0.1, 1.0)},
        {"C": stats.norm(0.1, 1.0)},
        {"C": stats.norm(0.1, 1.1)},
        {"D": [0.1, 1.0]},
        [{"C": [0.1, 1.0]}, {}],
        {"C": [PCA(1)]},
        {"C": [PCA(2)]},
        define,
        lambda trial: {},
    ]
    fingerprints = [make_space(space).fingerprint() for space in spaces]
    assert len(set(fingerprints)) == len(spaces)
    assert fingerprints == [make_space(space).fingerprint() for space in spaces]
    assert make_space({"a": [1], "b": [2]}).fingerprint() == (
        make_space({"b": [2], "a": [1]}).fingerprint()
    )


GRIDS = {
    "tuples": {"hidden_layer_sizes": [(4,), (8,)]},
    "losses": {"loss": [Focal(), LDAM(), Focal(gamma=1.0)]},
    "mixed": {"loss": [Focal(), "ce"], "hidden_layer_sizes": [(4,), (8, 4)]},
}


@pytest.mark.filterwarnings("ignore:.*not supported by `GridSampler`")  # in storages on disk
@pytest.mark.parametrize("name", GRIDS)
def test_grids_of_objects(name):
    grid = GRIDS[name]
    X = np.random.default_rng(0).normal(size=(60, 3))
    search = OptunaSearchCV(
        ImbalancedMLPClassifier((4,), max_epochs=1, random_state=0),
        grid,
        sampler=optuna.samplers.GridSampler(grid, seed=0),
        n_trials=len(list(itertools.product(*grid.values()))),
        cv=2,
        random_state=0,
    ).fit(X, (X[:, 0] > 0).astype(int))
    tried = {tuple(repr(params[key]) for key in grid) for params in search.cv_results_["params"]}
    assert tried == {tuple(map(repr, each)) for each in itertools.product(*grid.values())}
    assert all(type(v) is not str or v == "ce" for v in search.best_params_.values())


def test_queued_trial_of_objects():
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"hidden_layer_sizes": (8,)})
    X = np.random.default_rng(0).normal(size=(60, 3))
    search = OptunaSearchCV(
        ImbalancedMLPClassifier((4,), max_epochs=1, random_state=0),
        {"hidden_layer_sizes": [(4,), (8,)]},
        study=study,
        cv=2,
        n_trials=1,
    ).fit(X, (X[:, 0] > 0).astype(int))
    assert search.cv_results_["params"] == [{"hidden_layer_sizes": (8,)}]
