"""What filtering before the split does to a score: cross-validated AUC where there is no signal.

Tables have the size of a radiomics study (300 cases, 13,184 features), and an honest AUC is 0.5.
Two flows are scored twice, with the filter inside the pipeline, fitted on the training rows of each
fold, and with the filter fitted on all rows before the split:

- "logistic regression": filter, scaling and classifier, on tables of pure noise;
- "whole flow": filter, scaling, selection by importance and a network whose settings are tuned by
  an inner cross-validation, on tables of correlated features that tell the classes apart, until
  the labels are shuffled.

Tables are independent: the interval is a plain t-interval of the mean.

    python benchmarks/leakage.py
    python benchmarks/leakage.py --figure docs/_static/leakage.png
"""

import argparse
import platform
from importlib.metadata import version

import numpy as np
from joblib import Parallel, delayed
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skcyto.feature_selection import CorrelationTTestFilter, ImportanceThresholdSelector
from skcyto.neural_network import ImbalancedMLPClassifier

INSIDE, BEFORE = "inside the pipeline", "before the split"
SIMPLE, WHOLE = "logistic regression", "whole flow"
FAMILY = 16  # correlated features that share a factor


def draw_noise(y, n_features, rng):
    """Independent features that know nothing of the labels."""
    return rng.normal(size=(len(y), n_features)), y


def draw_shuffled(y, n_features, rng):
    """Families of correlated features, one family in ten with signal; then shuffle the labels."""
    n_families = -(-n_features // FAMILY)
    factors = rng.normal(size=(len(y), n_families))
    factors[:, ::10] += 0.5 * y[:, np.newaxis]
    X = np.repeat(factors, FAMILY, axis=1)[:, :n_features]
    X += 0.5 * rng.normal(size=X.shape)
    return X, rng.permutation(y)


def make_steps(seed):
    """What follows the filter in the whole flow."""
    selector = ImportanceThresholdSelector(LogisticRegression(C=0.1, max_iter=1000), "mean")
    network = ImbalancedMLPClassifier((0.5,), batch_size=36, max_epochs=15, random_state=seed)
    return [("scale", MinMaxScaler()), ("select", selector), ("network", network)]


def tune(pipeline, seed):
    """Tune with everything that is fitted inside the inner folds, on the AUC."""
    grid = {"network__learning_rate": [1e-3, 1e-2], "network__loss": ["ce", "wce"]}
    inner = StratifiedKFold(3, shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, grid, scoring="roc_auc", cv=inner)


def score_table(flow, n_minority, n_majority, n_features, seed):
    """Return the mean AUC over five folds of one table, for both orders."""
    y = np.repeat([1, 0], [n_minority, n_majority])
    draw_table = {SIMPLE: draw_noise, WHOLE: draw_shuffled}[flow]
    X, y = draw_table(y, n_features, np.random.default_rng(seed))
    filtered = CorrelationTTestFilter().fit_transform(X, y)
    if flow == SIMPLE:
        before = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=1000))
        inside = make_pipeline(CorrelationTTestFilter(), before)
    else:
        steps = make_steps(seed)
        before = tune(Pipeline(steps), seed)
        inside = tune(Pipeline([("filter", CorrelationTTestFilter()), *steps]), seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return {
        order: cross_val_score(estimator, table, y, cv=folds, scoring="roc_auc").mean()
        for order, estimator, table in ((INSIDE, inside, X), (BEFORE, before, filtered))
    }


def mean_interval(values, level=0.95):
    """Return mean and t-interval of independent values."""
    mean, error = np.mean(values), stats.sem(values)
    half = error * stats.t.ppf((1 + level) / 2, len(values) - 1)
    low, high = mean - half, mean + half
    return mean, low, high


def draw(scores, path):
    import matplotlib

    matplotlib.use("Agg")
    from skcyto.utils._plotting import PALETTE, get_figure_and_axes

    figure, ax = get_figure_and_axes(figsize=(7, 3.4))
    rng = np.random.default_rng(0)
    rows = [(flow, order) for flow in (WHOLE, SIMPLE) for order in (BEFORE, INSIDE)]
    for row, (flow, order) in enumerate(rows):
        values = np.array(scores[flow, order])
        color = PALETTE[0] if order == INSIDE else PALETTE[1]
        ax.scatter(
            values, row + rng.uniform(-0.15, 0.15, len(values)), s=12, alpha=0.6, color=color
        )
        mean, low, high = mean_interval(values)
        ax.plot([low, high], [row, row], color="black", linewidth=2)
        ax.plot(mean, row, "|", color="black", markersize=14, markeredgewidth=2)
    ax.axvline(0.5, color="0.5", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(rows)), [f"{flow},\nfilter {order}" for flow, order in rows])
    ax.set(xlim=(0.35, 1.02), xlabel="AUC where there is no signal (dashed: chance)")
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minority", type=int, default=100)
    parser.add_argument("--majority", type=int, default=200)
    parser.add_argument("--features", type=int, default=13_184)
    parser.add_argument("--tables", type=int, default=30, help="independent tables of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=1, help="tables at the same time")
    parser.add_argument("--figure", help="write a figure to this file")
    args = parser.parse_args()

    tasks = [(flow, args.seed + table) for flow in (SIMPLE, WHOLE) for table in range(args.tables)]
    runs = Parallel(n_jobs=args.n_jobs)(
        delayed(score_table)(flow, args.minority, args.majority, args.features, seed)
        for flow, seed in tasks
    )
    scores = {
        (flow, order): [run[order] for (of, _), run in zip(tasks, runs, strict=True) if of == flow]
        for flow in (SIMPLE, WHOLE)
        for order in (INSIDE, BEFORE)
    }
    print(
        f"{args.tables} tables of each kind, {args.minority} + {args.majority} cases, "
        f"{args.features} features; Python {platform.python_version()}, scikit-learn "
        f"{version('scikit-learn')}, torch {version('torch')}\n"
    )
    print("| flow | filter | mean AUC | 95 % interval of the mean | smallest | largest |")
    print("|---|---|---|---|---|---|")
    for (flow, order), values in scores.items():
        mean, low, high = mean_interval(values)
        print(
            f"| {flow} | {order} | {mean:.3f} | {low:.3f} to {high:.3f} "
            f"| {min(values):.3f} | {max(values):.3f} |"
        )
    if args.figure:
        draw(scores, args.figure)


if __name__ == "__main__":
    main()
