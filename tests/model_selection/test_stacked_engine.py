"""engine="stacked" of comparisons and searches gives what engine="separate" gives."""

import warnings

import numpy as np
import optuna
import pytest
import sklearn
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_resampling_pipeline
from pandas.api.types import is_float_dtype
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import make_classification
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from skorch.callbacks import EpochScoring

from skcyto.model_selection import OptunaSearchCV, compare_models
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.neural_network._stacked import _training as _stacked_training

METRICS = ["f1_macro", "roc_auc_ovr", "neg_log_loss"]
NAMES = ["f1_macro", "roc_auc_ovr", "log_loss"]


@pytest.fixture
def table():
    X, y = make_classification(160, 10, n_informative=5, weights=[0.7], flip_y=0.1, random_state=0)
    return X, np.array(["common", "rare"])[y]


@pytest.fixture
def stacks(monkeypatch):
    """Sizes of the stacks that are trained."""
    sizes = []
    run = _stacked_training.StackedTraining.run

    def counting(self):
        sizes.append(len(self.members))
        return run(self)

    monkeypatch.setattr(_stacked_training.StackedTraining, "run", counting)
    return sizes


def net(**params):
    settings = {"hidden_layer_sizes": (0.5,), "max_epochs": 6, "batch_size": 32, "device": "cpu"}
    return ImbalancedMLPClassifier(**{**settings, **params})


class KeepSpread(TransformerMixin, BaseEstimator):
    """Keeps columns that vary more than in the fold before: another number in each fold."""

    fits = 0

    def fit(self, X, y=None):
        type(self).fits += 1
        self.n_kept_ = 4 + len(X) % 3
        return self

    def transform(self, X):
        return X[:, : self.n_kept_]


def both(estimators, X, y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [
            compare_models(
                estimators, X, y, scoring=METRICS, random_state=0, engine=engine, **settings
            )
            for engine in ("separate", "stacked")
        ]


def assert_same_comparison(one, other):
    assert one.models == other.models
    for name in one.models:
        a, b = one.out_of_fold(name), other.out_of_fold(name)
        assert list(a.columns) == list(b.columns)
        for column in a.columns:
            if is_float_dtype(a[column]):
                np.testing.assert_allclose(a[column], b[column], atol=1e-4)
            else:
                assert (a[column] == b[column]).mean() > 0.99
        for metric in NAMES:
            np.testing.assert_allclose(
                one.fold_scores(name, metric), other.fold_scores(name, metric), atol=1e-4
            )


def test_a_comparison_of_nets_beside_other_models(table, stacks):
    X, y = table
    grid = {
        f"net {rate} {loss}": make_pipeline(StandardScaler(), net(learning_rate=rate, loss=loss))
        for rate in (1e-3, 1e-2)
        for loss in ("ce", "wce")
    }
    candidates = {"logistic regression": LogisticRegression(), **grid, "bare": net()}
    separate, stacked = both(candidates, X, y, cv=3)
    assert_same_comparison(separate, stacked)
    assert stacks == [15]


def test_a_grid_with_groups_and_weights(table):
    X, y = table
    groups = np.arange(len(y)) // 2
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y))
    separate, stacked = both(
        (make_pipeline(MinMaxScaler(), net()), {"imbalancedmlpclassifier__dropout": [0.0, 0.3]}),
        X,
        y,
        groups=groups,
        cv=StratifiedGroupKFold(3),
        params={"sample_weight": weights},
    )
    assert_same_comparison(separate, stacked)


def test_metadata_routing(table):
    X, y = table
    groups = np.arange(len(y)) // 2
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        classifier = net(validation_fraction=0.3).set_fit_request(groups=True, sample_weight=True)
        separate, stacked = both(
            {"a": make_pipeline(scaler, classifier)},
            X,
            y,
            groups=groups,
            cv=StratifiedGroupKFold(3),
            params={"sample_weight": np.linspace(0.5, 2, len(y))},
        )
    assert_same_comparison(separate, stacked)


def test_steps_are_fitted_in_every_fold_once_for_all_that_share_them(table, stacks):
    X, y = table
    candidates = {
        f"{k} {rate}": Pipeline(
            [("spread", KeepSpread()), ("best", SelectKBest(k=k)), ("net", net(learning_rate=rate))]
        )
        for k in (3, 4)
        for rate in (1e-3, 3e-3)
    }
    splits = list(StratifiedKFold(3).split(X, y))
    splits[1] = (splits[1][0][:-1], splits[1][1])  # another number of rows, of columns
    KeepSpread.fits = 0
    separate, stacked = both(candidates, X, y, cv=splits)
    assert_same_comparison(separate, stacked)
    assert KeepSpread.fits == 3 * 4 + 3 * 2
    assert sorted(stacks) == [6, 6]


def test_widths_that_differ_by_fold_make_stacks_of_their_own(table, stacks):
    X, y = table
    candidates = {f"{d}": make_pipeline(KeepSpread(), net(dropout=d)) for d in (0.1, 0.4)}
    splits = [
        (train[: 100 + i], test) for i, (train, test) in enumerate(StratifiedKFold(3).split(X, y))
    ]
    separate, stacked = both(candidates, X, y, cv=splits)
    assert_same_comparison(separate, stacked)
    assert stacks == [2, 2, 2]


def test_resampled_rows(table):
    X, y = table
    pipeline = make_resampling_pipeline(StandardScaler(), RandomOverSampler(random_state=0), net())
    assert_same_comparison(*both({"resampled": pipeline}, X, y, cv=3))


def test_checkpoints_are_shared_by_the_engines(table, tmp_path, stacks):
    X, y = table
    candidates = {"a": net(), "b": net(dropout=0.5)}
    settings = {"cv": 3, "random_state": 0, "checkpoint": tmp_path, "scoring": METRICS}
    one = compare_models(candidates, X, y, engine="stacked", **settings)
    other = compare_models(candidates, X, y, engine="separate", **settings)
    assert stacks == [6]
    for metric in NAMES:
        np.testing.assert_array_equal(one.fold_scores("a", metric), other.fold_scores("a", metric))


def test_what_fails_is_reported_with_its_name(table):
    X, y = table
    candidates = {"good": net(), "bad": net(learning_rate=-1.0)}
    with pytest.warns(Warning, match="'bad' on 3 of 3 folds"):
        comparison = compare_models(candidates, X, y, cv=3, engine="stacked", random_state=0)
    assert comparison.models == ["good"]
    assert "learning_rate" in comparison.failures["bad"][0].error
    assert "Traceback" in comparison.failures["bad"][0].traceback


def test_a_step_that_fails_takes_its_own_candidates_along(table):
    X, y = table
    candidates = {"good": net(), "bad": make_pipeline(VarianceThreshold(1e9), net())}
    with pytest.warns(Warning, match="'bad' on 3 of 3 folds"):
        comparison = compare_models(candidates, X, y, cv=3, engine="stacked", random_state=0)
    assert comparison.models == ["good"]


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"a": net(callbacks=[EpochScoring("accuracy")])}, "candidate 'a'.*callbacks"),
        ({"a": LogisticRegression()}, "no candidate is one"),
        ({"a": make_pipeline(StandardScaler(), make_pipeline(net()))}, "pipeline of its own"),
    ],
)
def test_refusals_name_the_candidate_and_the_reason(table, candidates, message):
    with pytest.raises(ValueError, match=message):
        compare_models(candidates, *table, engine="stacked")


def test_an_unknown_engine(table):
    with pytest.raises(ValueError, match="engine='batched'"):
        compare_models({"a": net()}, *table, engine="batched")


# Searches ------------------------------------------------------------------------------------

GRID = {
    "imbalancedmlpclassifier__learning_rate": [1e-3, 1e-2],
    "imbalancedmlpclassifier__dropout": [0.0, 0.4],
}


def search(engine, **settings):
    pipeline = make_pipeline(StandardScaler(), net(random_state=0))
    return OptunaSearchCV(
        pipeline,
        GRID,
        **{"sampler": optuna.samplers.GridSampler(GRID), "cv": 3, "engine": engine, **settings},
    )


def test_a_grid_scores_as_with_grid_search(table, stacks):
    X, y = table
    grid = GridSearchCV(
        make_pipeline(StandardScaler(), net(random_state=0)),
        GRID,
        cv=3,
        scoring=["f1_macro", "roc_auc"],
        refit="roc_auc",
        return_train_score=True,
    ).fit(X, y)
    stacked = search(
        "stacked",
        scoring=["f1_macro", "roc_auc"],
        refit="roc_auc",
        trials_per_batch=4,
        return_train_score=True,
    ).fit(X, y)
    assert sum(stacks) == 12  # with and without dropout
    assert set(grid.cv_results_) <= set(stacked.cv_results_)
    order = [grid.cv_results_["params"].index(p) for p in stacked.cv_results_["params"]]
    for name, values in stacked.cv_results_.items():
        if name.startswith(("mean_test", "split", "mean_train", "std")) and "time" not in name:
            np.testing.assert_allclose(values, grid.cv_results_[name][order], atol=1e-4)
    assert stacked.best_params_ == grid.best_params_
    np.testing.assert_allclose(stacked.predict_proba(X), grid.predict_proba(X), atol=1e-4)
    assert (stacked.cv_results_["mean_fit_time"] > 0).all()


@pytest.mark.slow
def test_default_sampler_asks_in_batches_and_n_jobs_changes_nothing(table):
    X, y = table
    space = {
        "imbalancedmlpclassifier__learning_rate": optuna.distributions.FloatDistribution(
            1e-4, 1e-1, log=True
        )
    }
    results = [
        OptunaSearchCV(
            make_pipeline(StandardScaler(), net(random_state=0)),
            space,
            n_trials=6,
            trials_per_batch=3,
            cv=3,
            engine="stacked",
            random_state=0,
            n_jobs=n_jobs,
            scoring="neg_log_loss",
        )
        .fit(X, y)
        .cv_results_
        for n_jobs in (1, 2)
    ]
    assert results[0]["params"] == results[1]["params"]
    np.testing.assert_array_equal(results[0]["mean_test_score"], results[1]["mean_test_score"])


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize("error_score", [np.nan, -1.0])
def test_error_score(table, error_score):
    X, y = table
    grid = {"imbalancedmlpclassifier__learning_rate": [1e-3, -1.0]}
    with pytest.warns(Warning, match="3 fits failed"):
        found = (
            search(
                "stacked",
                error_score=error_score,
                sampler=optuna.samplers.GridSampler(grid),
            )
            .set_params(param_distributions=grid)
            .fit(X, y)
        )
    bad = [p["imbalancedmlpclassifier__learning_rate"] < 0 for p in found.cv_results_["params"]]
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"][bad], [error_score])
    with pytest.raises(ValueError, match="learning_rate"):
        found.set_params(error_score="raise").fit(X, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pruner": optuna.pruners.MedianPruner()}, "pruner=MedianPruner"),
        ({"estimator": LogisticRegression()}, "LogisticRegression"),
        ({"estimator": net(callbacks=[EpochScoring("accuracy")])}, "callbacks"),
    ],
)
def test_a_search_refuses_what_cannot_be_stacked(table, settings, message):
    estimator = settings.pop("estimator", net())
    space = (
        {"dropout": [0.1, 0.2]} if isinstance(estimator, ImbalancedMLPClassifier) else {"C": [1]}
    )
    with pytest.raises(ValueError, match=message):
        OptunaSearchCV(estimator, space, n_trials=2, cv=3, engine="stacked", **settings).fit(*table)
