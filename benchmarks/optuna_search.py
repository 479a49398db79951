"""Time OptunaSearchCV against its rivals, and what pruning saves.

    python benchmarks/optuna_search.py
    python benchmarks/optuna_search.py --trials 20 --epochs 30      # quick

The first table is overhead: searches of a model that fits in no time, per trial. The rival of
the name needs `pip install optuna-integration`, and is left out without it. The second searches
the MLP classifier on a made-up table with the same trials: all epochs of all folds, with
reports that never prune, and with a median pruner. All on one process.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import sklearn
from scipy.stats import loguniform, randint
from sklearn.datasets import make_classification
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import skcyto
from skcyto.model_selection import OptunaSearchCV
from skcyto.neural_network import ImbalancedMLPClassifier


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def overhead(trials: int) -> None:
    X, y = make_classification(200, 8, random_state=0)
    tree = DecisionTreeClassifier(random_state=0)
    space = {"max_depth": randint(1, 10), "ccp_alpha": loguniform(1e-4, 1e-1)}
    settings = {"cv": 3, "random_state": 0, "refit": False}

    def random_search():
        return RandomizedSearchCV(tree, space, n_iter=trials, **settings).fit(X, y)

    def ours(storage=None):
        return OptunaSearchCV(tree, space, n_trials=trials, storage=storage, **settings).fit(X, y)

    def theirs():
        from optuna_integration import OptunaSearchCV as Rival

        theirs_space = {
            "max_depth": optuna.distributions.IntDistribution(1, 9),
            "ccp_alpha": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        }
        return Rival(tree, theirs_space, n_trials=trials, **settings).fit(X, y)

    rows = [("RandomizedSearchCV", random_search), ("OptunaSearchCV", ours)]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/trials.db"
        rows.append(("OptunaSearchCV, SQLite", lambda: ours(url)))
        rows.append(("OptunaSearchCV, SQLite, all trials found", lambda: ours(url)))
        try:
            import optuna_integration

            rows.append((f"optuna-integration {optuna_integration.__version__}", theirs))
        except ImportError:
            pass
        base = None
        print("| search | ms a trial | ratio |\n|---|---|---|")
        for name, call in rows:
            taken, _ = seconds(call)
            base = base or taken
            print(f"| {name} | {1000 * taken / trials:.1f} | {taken / base:.1f} |")
    print()


def pruning(trials: int, epochs: int) -> None:
    X, y = make_classification(
        2000, 40, n_informative=12, n_classes=3, weights=[0.6, 0.3], flip_y=0.1, random_state=0
    )
    mlp = ImbalancedMLPClassifier((128,), max_epochs=epochs, device="cpu", random_state=0)
    space = {
        "imbalancedmlpclassifier__learning_rate": loguniform(1e-5, 1e-1),
        "imbalancedmlpclassifier__weight_decay": loguniform(1e-5, 1.0),
        "imbalancedmlpclassifier__loss": ["ce", "wce", "focal", "balanced_softmax"],
    }
    pruners = [
        ("none", None),
        ("reports that never prune", optuna.pruners.ThresholdPruner(lower=-1)),
        (
            "median after 20 % of the first fold",
            optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 5),
        ),
    ]
    base = None
    print("| pruner | s | ratio | pruned | best balanced accuracy |\n|---|---|---|---|---|")
    for name, pruner in pruners:
        search = OptunaSearchCV(
            make_pipeline(StandardScaler(), mlp),
            space,
            n_trials=trials,
            cv=3,
            scoring="balanced_accuracy",
            pruner=pruner,
            random_state=0,
            refit=False,
        )
        taken, fitted = seconds(lambda search=search: search.fit(X, y))
        base = base or taken
        pruned = (fitted.cv_results_["status"] == "pruned").sum()
        print(
            f"| {name} | {taken:.1f} | {taken / base:.2f} | {pruned} of {trials} "
            f"| {fitted.best_score_:.3f} |"
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(
        f"skcyto {skcyto.__version__}, optuna {optuna.__version__}, scikit-learn "
        f"{sklearn.__version__}, Python {platform.python_version()}\n"
    )
    overhead(arguments.trials)
    pruning(arguments.trials, arguments.epochs)


if __name__ == "__main__":
    main()
