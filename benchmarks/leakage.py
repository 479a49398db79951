"""What filtering before the split does to a score: cross-validated AUC on tables of pure noise.

Each table has the size of a radiomics study (300 cases, 13,184 features) and no signal at all, so
an honest AUC is 0.5. The same filter, scaling and logistic regression are scored twice: with the
filter inside the pipeline, fitted on the training rows of each fold, and with the filter fitted on
all rows before the split. Tables are independent: the interval is a plain t-interval of the mean.

    python benchmarks/leakage.py
    python benchmarks/leakage.py --figure docs/_static/leakage.png
"""

import argparse
import platform
from importlib.metadata import version

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skcyto.feature_selection import CorrelationTTestFilter

INSIDE, BEFORE = "inside the pipeline", "before the split"


def score_noise(n_minority, n_majority, n_features, seed):
    """Return the mean AUC over five folds of one noise table, for both orders."""
    rng = np.random.default_rng(seed)
    y = np.repeat([1, 0], [n_minority, n_majority])
    X = rng.normal(size=(len(y), n_features))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    classifier = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=1000))
    inside = make_pipeline(CorrelationTTestFilter(), classifier)
    filtered = CorrelationTTestFilter().fit_transform(X, y)
    return {
        INSIDE: cross_val_score(inside, X, y, cv=folds, scoring="roc_auc").mean(),
        BEFORE: cross_val_score(classifier, filtered, y, cv=folds, scoring="roc_auc").mean(),
    }


def mean_interval(values, level=0.95):
    """Return mean and t-interval of independent values."""
    mean, error = np.mean(values), stats.sem(values)
    low, high = stats.t.interval(level, len(values) - 1, loc=mean, scale=error)
    return mean, low, high


def draw(scores, path):
    import matplotlib

    matplotlib.use("Agg")
    from skcyto.utils._plotting import PALETTE, get_figure_and_axes

    figure, ax = get_figure_and_axes(figsize=(6, 2.6))
    rng = np.random.default_rng(0)
    for row, (order, color) in enumerate(((BEFORE, PALETTE[1]), (INSIDE, PALETTE[0]))):
        values = np.array(scores[order])
        ax.scatter(
            values, row + rng.uniform(-0.15, 0.15, len(values)), s=12, alpha=0.6, color=color
        )
        mean, low, high = mean_interval(values)
        ax.plot([low, high], [row, row], color="black", linewidth=2)
        ax.plot(mean, row, "|", color="black", markersize=14, markeredgewidth=2)
    ax.axvline(0.5, color="0.5", linestyle="--", linewidth=1)
    ax.set_yticks([0, 1], [f"filter {BEFORE}", f"filter {INSIDE}"])
    ax.set(xlim=(0.35, 1.02), ylim=(-0.5, 1.5), xlabel="AUC on pure noise (dashed: chance)")
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minority", type=int, default=100)
    parser.add_argument("--majority", type=int, default=200)
    parser.add_argument("--features", type=int, default=13_184)
    parser.add_argument("--tables", type=int, default=30, help="independent noise tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="write a figure to this file")
    args = parser.parse_args()

    runs = [
        score_noise(args.minority, args.majority, args.features, args.seed + table)
        for table in range(args.tables)
    ]
    scores = {order: [run[order] for run in runs] for order in (INSIDE, BEFORE)}
    print(
        f"{args.tables} noise tables, {args.minority} + {args.majority} cases, {args.features} "
        f"features; Python {platform.python_version()}, scikit-learn {version('scikit-learn')}\n"
    )
    print("| filter | mean AUC | 95 % interval of the mean | smallest | largest |")
    print("|---|---|---|---|---|")
    for order, values in scores.items():
        mean, low, high = mean_interval(values)
        print(
            f"| {order} | {mean:.3f} | {low:.3f} to {high:.3f} "
            f"| {min(values):.3f} | {max(values):.3f} |"
        )
    if args.figure:
        draw(scores, args.figure)


if __name__ == "__main__":
    main()
