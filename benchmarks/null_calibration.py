"""Do tests find differences where there are none, and do intervals hold what they promise?

False claims: labels are shuffled, so that no model is better than another; every claim is false.
Coverage: two normal classes whose distance is known; an interval should hold the mean of what it
estimates in 95 of 100 data sets. Models have a closed form, so that thousands of data sets are
cheap; folds, scores, tests and intervals are those of `compare_models`.

    python benchmarks/null_calibration.py
    python benchmarks/null_calibration.py --n-datasets 200 --parts claims --situations "3 patients"
"""

import argparse
import gc
import time
import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
import sklearn
from scipy.stats import norm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold, LeaveOneGroupOut

import skcyto
from skcyto.model_selection import compare_models, friedman_nemenyi_test
from skcyto.model_selection._results import _one_set as one_set

RESULTS = Path(__file__).parent / "results" / "honesty.md"
N_RESAMPLES = 50
# Draws and exchanges on an external set, 1000 and 1999 by default: fewer make no test claim more.
one_set._N_RESAMPLES = N_RESAMPLES
one_set._N_EXCHANGES = 199
PER_PATIENT = 4
# Cases of an external set's place that tell the true score of a fitted model.
N_TRUTH = 20000


class Centroids(ClassifierMixin, BaseEstimator):
    """Which class mean is nearer, by some of the columns."""

    def __init__(self, first=0, last=2):
        self.first = first
        self.last = last

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        Z = X[:, self.first : self.last]
        means = np.array([Z[y == label].mean(axis=0) for label in self.classes_])
        self.direction_ = means[-1] - means[0]
        self.middle_ = means.mean(axis=0)
        return self

    def predict_proba(self, X):
        logit = (X[:, self.first : self.last] - self.middle_) @ self.direction_
        p = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
        return np.column_stack([1 - p, p]) if len(self.classes_) > 1 else np.ones((len(X), 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Neighbours(Centroids):
    """Share of the seven nearest cases that have the class."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.X_, self.y_ = X, y
        return self

    def predict_proba(self, X):
        distances = ((X[:, None] - self.X_) ** 2).sum(axis=2)
        near = np.argpartition(distances, 6, axis=1)[:, :7]
        p = (self.y_[near] == self.classes_[-1]).mean(axis=1)
        return np.column_stack([1 - p, p]) if len(self.classes_) > 1 else np.ones((len(X), 1))


class Majority(Neighbours):
    """The share of the class in training, whatever the case."""

    def predict_proba(self, X):
        p = np.full(len(X), np.mean(self.y_ == self.classes_[-1]))
        return np.column_stack([1 - p, p]) if len(self.classes_) > 1 else np.ones((len(X), 1))


@dataclass(frozen=True)
class Situation:
    """How many cases or patients there are of either class, and how they are tested."""

    n_positive: int
    n_negative: int
    grouped: bool = False
    cv: str = "default"
    external: bool = False


SITUATIONS = {
    "default folds": Situation(40, 80),
    "KFold(10)": Situation(20, 60, cv="kfold"),
    "grouped folds": Situation(15, 25, grouped=True),
    "leave one patient out": Situation(10, 20, grouped=True, cv="leave one out"),
    "rare class of 3 cases": Situation(3, 60),
    "rare class of 5 cases": Situation(5, 60),
    "rare class of 8 cases": Situation(8, 60),
    "rare class of 15 cases": Situation(15, 60),
    "rare class of 3 patients": Situation(3, 30, grouped=True),
    "rare class of 5 patients": Situation(5, 30, grouped=True),
    "rare class of 8 patients": Situation(8, 30, grouped=True),
    "rare class of 15 patients": Situation(15, 30, grouped=True),
    "one external set": Situation(12, 60, external=True),
    "one external set, patients": Situation(8, 30, grouped=True, external=True),
}


def draw(situation, rng, area, n_columns=4):
    """Draw cases of two normal classes, and with patients several alike of each."""
    both = 2 if situation.external else 1
    y = np.repeat([1, 0], [situation.n_positive * both, situation.n_negative * both])
    y = rng.permutation(y)
    X = rng.normal(size=(len(y), n_columns))
    groups = None
    shift = norm.ppf(area) * np.sqrt(2)
    if situation.grouped:
        groups = np.repeat(np.arange(len(y)), PER_PATIENT)
        y = y[groups]
        X = np.sqrt(0.5) * (X[groups] + rng.normal(size=(len(y), n_columns)))
    X[:, 0] += shift * y
    cv = None
    if situation.cv == "kfold":
        cv = KFold(10, shuffle=True, random_state=int(rng.integers(2**31)))
    elif situation.cv == "leave one out":
        cv = LeaveOneGroupOut()
    return X, y, groups, cv


def compare(models, situation, seed, area, scoring, *, truth=False):
    """Return the comparison that is judged (over folds, or on the external set), and a large set.

    Intervals of an external set take the fitted models as given: what they should hold is the
    score on many more cases of that place.
    """
    rng = np.random.default_rng(seed)
    X, y, groups, cv = draw(situation, rng, area)
    given = {"scoring": scoring, "random_state": int(rng.integers(2**31))}
    if not situation.external:
        return compare_models(models, X, y, groups=groups, cv=cv, **given), None
    # The other half is the other hospital: as many cases or patients of either class.
    unit = np.arange(len(y)) if groups is None else groups
    seen = np.zeros(len(y), dtype=bool)
    for label in (0, 1):
        seen |= np.isin(unit, np.unique(unit[y == label])[::2])
    inside, outside = (
        (X[rows], y[rows], None if groups is None else groups[rows]) for rows in (seen, ~seen)
    )
    external = {"elsewhere": outside if groups is not None else outside[:2]}
    if truth:
        times = N_TRUTH // (situation.n_positive + situation.n_negative)
        many = Situation(situation.n_positive * times, situation.n_negative * times)
        external["truth"] = draw(many, rng, area)[:2]
    comparison = compare_models(
        models, *inside[:2], groups=inside[2], cv=2, external=external, **given
    )
    return comparison.external["elsewhere"], comparison.external["truth"] if truth else None


TESTS = (
    *("accuracy", "f1_macro", "balanced_accuracy", "roc_auc_ovr", "average_precision_macro"),
    "recall[1]",
)


def claims(situation, seed):
    """Say which tests claim a difference at 5 % on shuffled labels; NaN where one is refused."""
    noise = {
        "one": Centroids(0, 2),
        "other": Centroids(2, 4),
        "neighbours": Neighbours(),
        "majority": Majority(),
    }
    scoring = [*TESTS[:-1], "recall_per_class"]
    comparison, _ = compare(noise, situation, seed, 0.5, scoring)
    every = comparison.models
    comparison.models = ["one", "other"]
    found = {}

    def record(name, pvalue):
        found[name] = np.nan if np.isnan(pvalue) else float(pvalue < 0.05)

    def attempt(name, make):
        try:
            make()
        except ValueError:
            found[name] = np.nan

    pair = ("other", "one")
    # Over folds the corrected t-test, on one set the exchange of predictions.
    over_scores = comparison.permutation if situation.external else comparison.ttest
    for metric in TESTS:
        attempt(
            f"test {metric}",
            lambda metric=metric: record(
                f"test {metric}", over_scores(metric=metric).loc[pair, "pvalue"]
            ),
        )

    def believe():
        row = comparison.bayesian(metric="f1_macro").loc[pair]
        record("bayesian f1_macro", 2 * (1 - max(row["p_better"], row["p_worse"])))

    attempt("bayesian f1_macro", believe)
    attempt("mcnemar", lambda: record("mcnemar", comparison.mcnemar().loc[pair, "pvalue"]))

    def areas(model, reference):
        table = comparison.delong(reference=reference)
        return table.loc[(model, reference, 1), "pvalue"]

    attempt("delong", lambda: record("delong", areas("other", "one")))
    for metric in ("f1_macro", "roc_auc_ovr"):

        def resample(metric=metric):
            row = comparison.bootstrap(metric=metric, n_resamples=N_RESAMPLES).loc["other"]
            outside = row["difference_low"] > 0 or row["difference_high"] < 0
            none = np.isnan(row["difference_low"])
            found[f"bootstrap {metric}"] = np.nan if none else float(outside)

        attempt(f"bootstrap {metric}", resample)
    comparison.models = every
    for model in ("one", "neighbours"):
        name = f"delong {'neighbours' if model == 'neighbours' else 'centroids'} v. majority"
        attempt(name, lambda model=model, name=name: record(name, areas(model, "majority")))
    return found


def intervals(situation, seed, area):
    """Return estimate, limits and truth, if known, of everything that is printed of one model."""
    model = {"centroids": Centroids(0, 2)}
    comparison, many = compare(model, situation, seed, area, None, truth=True)
    table = comparison.table().loc["centroids"]

    def truth(metric):
        return np.nan if many is None else many.fold_scores("centroids", metric)[0]

    found = {
        metric: (*table[metric][["mean", "ci_low", "ci_high"]], truth(metric)) for metric in SHOWN
    }
    for metric in ("f1_macro", "roc_auc_ovr"):
        try:
            row = comparison.bootstrap(metric=metric, n_resamples=N_RESAMPLES).iloc[0]
            limits = tuple(row[["estimate", "ci_low", "ci_high"]])
        except ValueError:
            limits = (np.nan,) * 3
        found[f"bootstrap {metric}"] = (*limits, truth(metric))
    return found


SHOWN = (
    *("accuracy", "precision_macro", "recall_macro", "f1_macro", "average_f1"),
    *("balanced_accuracy", "roc_auc_ovr", "average_precision_macro", "log_loss", "brier_score"),
    *("expected_calibration_error", "recall[0]", "recall[1]"),
)


def run_claims(situation, n_datasets):
    rows = []
    for seed in range(n_datasets):
        if seed < 2:
            # statsmodels collects garbage at every call: with all that was imported, a fifth of a
            # second.
            gc.freeze()
        rows.append(claims(situation, seed))
    return pd.DataFrame(rows)


def run_coverage(situation, n_datasets, area):
    """Return for every score the share of intervals that hold the truth, their number, the truth.

    The truth of a score over folds is the mean of the estimates.
    """
    rows = [intervals(situation, seed, area) for seed in range(n_datasets)]
    shares = {}
    for metric in rows[0]:
        estimate, low, high, truth = np.array([row[metric] for row in rows], dtype=float).T
        if not situation.external and np.isfinite(estimate).any():
            truth = np.full(len(rows), np.nanmean(estimate))
        # A score that is undefined, or has no interval, makes no promise.
        known = ~np.isnan([estimate, low, high, truth]).any(axis=0)
        if not known.any():
            shares[metric] = np.nan, 0, np.nan
            continue
        held = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
        shares[metric] = held[known].mean(), int(known.sum()), truth[known].mean()
    return shares, len(rows)


def percent(share, n):
    return f"{100 * share:.1f} ± {100 * np.sqrt(share * (1 - share) / n):.1f}"


def report_claims(tables):
    columns = list(next(iter(tables.values())).columns)
    lines = [
        "| situation | data sets | " + " | ".join(columns) + " |",
        "|---|---:|" + "---:|" * len(columns),
    ]
    for name, table in tables.items():
        cells = []
        for column in columns:
            known = table[column].dropna()
            if len(known) == 0:
                cells.append("refused")
                continue
            # A refusal is no claim, but a test that is mostly refused must not look careful.
            cell = percent(known.mean(), len(known))
            cells.append(cell if len(known) == len(table) else f"{cell} (of {len(known)})")
        lines.append(f"| {name} | {len(table)} | " + " | ".join(cells) + " |")
    return lines


def report_ranks(n):
    rng = np.random.default_rng(0)
    lines = ["| data sets, models | Friedman | Iman and Davenport | Nemenyi, any pair |"]
    lines.append("|---|---:|---:|---:|")
    for n_sets, n_models in ((5, 3), (10, 4), (20, 5)):
        found = []
        for _ in range(n):
            result = friedman_nemenyi_test(rng.normal(size=(n_sets, n_models)))
            upper = result.pairwise_pvalues[np.triu_indices(n_models, 1)]
            found.append((result.pvalue < 0.05, result.f_pvalue < 0.05, upper.min() < 0.05))
        cells = " | ".join(percent(share, n) for share in np.mean(found, axis=0))
        lines.append(f"| {n_sets}, {n_models} | {cells} |")
    return lines


def report_coverage(name, results):
    metrics = list(next(iter(results.values()))[0])
    areas = list(results)
    lines = [
        f"### {name}",
        "",
        "| score | " + " | ".join(f"AUC {area:g}" for area in areas) + " |",
        "|---|" + "---:|" * len(areas),
    ]
    for metric in metrics:
        cells = []
        for area in areas:
            share, known, truth = results[area][0][metric]
            n = results[area][1]
            if known == 0:
                cells.append("none printed")
                continue
            cell = f"{percent(share, known)} ({truth:.3f})"
            cells.append(cell if known == n else f"{cell}, of {known}")
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-datasets", type=int, default=200)
    parser.add_argument("--n-coverage", type=int, default=100)
    parser.add_argument("--areas", type=float, nargs="+", default=[0.6, 0.95, 0.995])
    parser.add_argument("--parts", nargs="+", default=["claims", "coverage"])
    parser.add_argument("--situations", nargs="+", default=[""], help="parts of their names")
    parser.add_argument("--output", type=Path, default=None, help=f"such as {RESULTS}")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    begun = time.process_time()
    chosen = {
        name: situation
        for name, situation in SITUATIONS.items()
        if any(part in name for part in arguments.situations)
    }
    head = [
        "# Honesty of tests and intervals",
        "",
        f"skcyto {skcyto.__version__}, scikit-learn {sklearn.__version__}, scipy "
        f"{scipy.__version__}, numpy {np.__version__}; `python benchmarks/null_calibration.py`.",
        "",
    ]
    parts = {}

    def write():
        # After every situation: what an interrupted run has found is kept.
        took = (time.process_time() - begun) / 60
        text = "\n".join(
            [*head, *chain.from_iterable(parts.values()), f"{took:.0f} minutes of one core."]
        )
        if arguments.output is not None:
            arguments.output.write_text(text + "\n", encoding="utf-8")
        return text

    if "claims" in arguments.parts:
        parts["ranks"] = [
            "## Ranks over data sets",
            "",
            *report_ranks(2 * arguments.n_datasets),
            "",
        ]
        tables = {}
        for name, situation in chosen.items():
            tables[name] = run_claims(situation, arguments.n_datasets)
            parts["claims"] = [
                "## False claims at 5 %, percent of data sets with shuffled labels",
                "",
                *report_claims(tables),
                "",
            ]
            print(report_claims({name: tables[name]})[-1], flush=True)
            write()
    if "coverage" in arguments.parts:
        parts["coverage"] = [
            f"## Coverage of 95 % intervals, percent of {arguments.n_coverage} data sets",
            "",
            "In brackets the true value.",
            "",
        ]
        for name, situation in chosen.items():
            results = {
                area: run_coverage(situation, arguments.n_coverage, area)
                for area in arguments.areas
            }
            parts["coverage"] += report_coverage(name, results)
            print("\n".join(report_coverage(name, results)), flush=True)
            write()
    print(write())


if __name__ == "__main__":
    main()
