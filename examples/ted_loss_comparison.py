"""Does an imbalance loss beat plain cross-entropy? The TED protocol, with repeats and tests.

The network of the TED paper (d -> d/2 -> 2, dropout 0.2, Adam, cosine annealing, 50 epochs,
batches of 36) is trained with every loss of skcyto, and with SMOTE, Tomek links, balanced batches
and a tuned threshold, on the breast-cancer cytology table of scikit-learn at three imbalances:
first at the paper's learning rate, then with the learning rate chosen inside each fold.

    python examples/ted_loss_comparison.py --n-jobs 2

The 569 cases are fine-needle aspirates, each described by 30 measurements of its cell nuclei. An
interrupted run goes on where it stopped.
"""

# %%
# The command line
# ----------------

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import TomekLinks
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold, StratifiedKFold
from sklearn.preprocessing import MinMaxScaler

from skcyto.losses import Focal, Minimax, available
from skcyto.model_selection import ModelComparison, TunedLogitBiasClassifierCV, compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

SCORES = {
    "macro F1": "f1_macro",
    "ROC AUC": "roc_auc_ovr",
    "log-loss": "neg_log_loss",
    "balanced accuracy": "balanced_accuracy",
    "average F1": "average_f1",
    "calibration error": "neg_expected_calibration_error",
    "recall": "recall_per_class",
}
RATIOS = {"1:1.7": None, "1:4": 4, "1:20": 20}
PAPER_RATE = 3e-4
RATES = [3e-4, 3e-3, 3e-2]
FIXED, TUNED = "learning rate 3e-4", "learning rate tuned in the fold"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/ted_loss_comparison"))
    parser.add_argument("--repeats", type=int, default=5, help="rounds of five folds")
    parser.add_argument("--tuned-repeats", type=int, default=2, help="the same, for tuned rates")
    parser.add_argument("--ratios", nargs="+", choices=RATIOS, default=list(RATIOS))
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as small as it can be")
    return parser.parse_args()


# %%
# Three imbalances
# ----------------
# All benign cases stay, and malignant ones are drawn until the ratio is reached: 212, 89 or 18.
# With 18 malignant cases a fold is scored on three or four of them, and nothing but repeats shows
# how little one fold says.


def load_cases(ratio: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    X, y = data.data, data.target_names[data.target]
    if ratio is None:
        return X, y
    malignant = np.random.default_rng(seed).permutation(np.flatnonzero(y == "malignant"))
    benign = np.flatnonzero(y == "benign")
    rows = np.sort(np.concatenate([benign, malignant[: round(len(benign) / ratio)]]))
    return X[rows], y[rows]


# %%
# The candidates
# --------------
# Features are scaled to [0, 1] inside the fold. SMOTE and Tomek links are steps of
# imbalanced-learn's pipeline: they change the rows that train and never those that are scored.
# Minimax and group DRO get batches with as many rows of each class, as the paper's minimax does,
# and soft F1 stratified ones: in a plain batch of 36 they would often miss a class.


def make_candidates(rates: list[float], *, epochs: int, inner_folds: int) -> dict:
    def network(*resampling: BaseEstimator, **settings) -> BaseEstimator:
        classifier = ImbalancedMLPClassifier(
            (0.5,),
            batch_norm=False,
            dropout=0.2,
            optimizer="adam",
            learning_rate=PAPER_RATE,
            weight_decay=0.0,
            lr_scheduler="cosine",
            batch_size=36,
            max_epochs=epochs,
            validation_fraction=None,
            restore_best_weights=False,
            **settings,
        )
        return tune(
            make_pipeline(MinMaxScaler(), *resampling, classifier),
            imbalancedmlpclassifier__learning_rate=rates,
        )

    def tune(pipeline: BaseEstimator, **grid) -> BaseEstimator:
        if len(rates) == 1:
            return pipeline
        inner = StratifiedKFold(inner_folds, shuffle=True, random_state=0)
        # Not macro F1: a network that calls every case benign has the same at every rate, and the
        # first rate would win the tie.
        return GridSearchCV(pipeline, grid, scoring="roc_auc", cv=inner)

    losses = {name: {"loss": name} for name in available()}
    losses["focal"] = {"loss": Focal(gamma=1.5)}
    losses["minimax"]["sampler"] = "grouped"
    losses["minimax, temperature 0.2"] = {"loss": Minimax(temperature=0.2), "sampler": "grouped"}
    losses["group_dro"]["sampler"] = "grouped"
    losses["soft_f1"]["sampler"] = "stratified"
    return {
        **{name: network(**settings) for name, settings in losses.items()},
        "ce, balanced batches": network(sampler="balanced"),
        "ce after SMOTE": network(SMOTE()),
        "ce after Tomek links": network(TomekLinks()),
        "ce, tuned threshold": TunedLogitBiasClassifierCV(network(), cv=inner_folds),
        "logistic regression": tune(
            make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=5000)),
            logisticregression__C=[1, 10, 100],
        ),
    }


def compare(args: argparse.Namespace, setting: str, ratio: str) -> ModelComparison:
    X, y = load_cases(RATIOS[ratio], args.seed)
    tuned = setting == TUNED
    folds, repeats = 5, args.tuned_repeats if tuned else args.repeats
    rates = RATES if tuned else [PAPER_RATE]
    epochs, inner_folds = 50, 2
    if args.smoke:
        folds, repeats, rates, epochs, inner_folds = 2, 1, rates[-2:], 2, 2
    print(f"{ratio}, {setting}: {len(y)} cases, {folds * repeats} folds", flush=True)
    return compare_models(
        make_candidates(rates, epochs=epochs, inner_folds=inner_folds),
        X,
        y,
        cv=RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=args.seed),
        scoring=SCORES,
        n_jobs=args.n_jobs,
        checkpoint=args.output / "checkpoint",
        random_state=args.seed,
    )


# %%
# What is shown
# -------------
# Every score with its standard deviation over folds, and a star where the corrected resampled
# t-test (Nadeau and Bengio) tells it from cross-entropy after Holm's correction for the number of
# candidates.


def significant(comparison: ModelComparison, metric: str) -> dict[str, float]:
    """Differences from cross-entropy that are more than chance at 5 %."""
    tests = comparison.ttest(reference="ce", metric=metric).reset_index()
    return {
        row.model: row.difference
        for row in tests.itertuples()
        if row.p_holm < 0.05  # False for NaN, where both are constant
    }


def score_table(comparisons: dict[str, ModelComparison], metric: str) -> str:
    """One column an imbalance, in Markdown."""
    lines = [
        f"| {metric} | " + " | ".join(comparisons) + " |",
        "|---|" + "---:|" * len(comparisons),
    ]
    tables = {ratio: c.table(metric)[metric] for ratio, c in comparisons.items()}
    stars = {ratio: significant(c, metric) for ratio, c in comparisons.items()}
    for model in next(iter(comparisons.values())).models:
        cells = [
            f"{table.loc[model, 'mean']:.3f} ± {table.loc[model, 'std']:.3f}"
            + ("*" if model in stars[ratio] else "")
            for ratio, table in tables.items()
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(differences: dict[str, float]) -> str:
    """Name candidates, the largest difference first."""
    ranked = sorted(differences.items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{model} ({difference:+.3f})" for model, difference in ranked) or "none"


def conclude(comparisons: dict[str, dict[str, ModelComparison]]) -> str:
    """Say in words what the tests found, whatever it is."""
    lines = []
    for ratio in comparisons[FIXED]:
        means = []
        for setting, by_ratio in comparisons.items():
            found = significant(by_ratio[ratio], "macro F1")
            mean = by_ratio[ratio].fold_scores("ce", "macro F1").mean()
            means.append(f"{mean:.3f} at {setting}")
            better = {model: d for model, d in found.items() if d > 0}
            worse = {model: d for model, d in found.items() if d < 0}
            lines.append(
                f"- {ratio}, {setting}: better than cross-entropy (macro F1, p < 0.05 after Holm): "
                f"{describe(better)}; worse: {describe(worse)}."
            )
        lines.append(f"- {ratio}: cross-entropy itself has macro F1 {', '.join(means)}.")
    return "\n".join(lines)


def draw_roc(comparisons: dict[str, dict[str, ModelComparison]], path: Path) -> None:
    models = ["ce", "wce", "focal", "ldam", "minimax", "ce after SMOTE"]
    n_columns = len(comparisons[FIXED])
    figure, axes = plt.subplots(
        2, n_columns, figsize=(4 * n_columns, 8), layout="constrained", squeeze=False
    )
    for row, (setting, by_ratio) in zip(axes, comparisons.items(), strict=True):
        for ax, (ratio, comparison) in zip(row, by_ratio.items(), strict=True):
            comparison.plot_roc(models=models, ax=ax)
            ax.set_title(f"{ratio}, {setting}", fontsize="medium")
    figure.savefig(path, dpi=80)


def main() -> None:
    args = parse_arguments()
    matplotlib.use("Agg")
    args.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    ratios = ["1:4"] if args.smoke else args.ratios
    comparisons = {
        setting: {ratio: compare(args, setting, ratio) for ratio in ratios}
        for setting in (FIXED, TUNED)
    }

    parts = []
    for setting, by_ratio in comparisons.items():
        n_folds = len(by_ratio[ratios[0]].splits.splits)
        parts.append(f"## {setting[0].upper()}{setting[1:]}, {n_folds} folds")
        parts.extend(
            score_table(by_ratio, metric) for metric in ("macro F1", "ROC AUC", "log-loss")
        )
        for ratio, comparison in by_ratio.items():
            name = f"{ratio.replace(':', '_')}_{'tuned' if setting == TUNED else 'fixed'}"
            comparison.to_html(args.output / f"{name}.html", reference="ce")
            comparison.ttest(reference="ce", metric="macro F1").to_csv(
                args.output / f"{name}_tests.csv"
            )
    parts += ["## Conclusion", conclude(comparisons)]
    report = "\n\n".join(parts) + "\n"
    (args.output / "table.md").write_text(report, encoding="utf-8")
    draw_roc(comparisons, args.output / "roc.png")
    print(f"\n{report}")
    print(
        "Mean ± standard deviation over folds; * differs from ce (corrected resampled t-test, Holm)"
    )
    print(f"Done in {time.perf_counter() - start:.0f} s; tables, tests and figures: {args.output}")


if __name__ == "__main__":
    main()
