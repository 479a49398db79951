"""How often do tests between two models find a difference where there is none?

Labels are shuffled, so that no model can be better than another; every rejection is false. Prints
the share of rejections at 5 % of the corrected resampled t-test and of the ordinary paired t-test.

    python benchmarks/null_calibration.py
    python benchmarks/null_calibration.py --repeats 1 2 10 --n-simulations 500
"""

import argparse

import numpy as np
import scipy
import sklearn
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.tree import DecisionTreeClassifier

import skcyto
from skcyto.model_selection import (
    RepeatedStratifiedGroupKFold,
    compare_models,
    corrected_resampled_ttest,
)

SCORES = ["accuracy", "roc_auc_ovr"]
MODELS = {
    "logistic regression": LogisticRegression(),
    "decision tree": DecisionTreeClassifier(max_depth=3),
}


def simulate(seed, *, n_samples, n_features, n_repeats, grouped):
    """Compare both models once on shuffled labels.

    Returns corrected and naive p-values, one row a score.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    groups = None
    y = rng.permutation(np.arange(n_samples) % 2)
    if grouped:
        # Three images a patient, alike and with the patient's label.
        groups = np.arange(n_samples) // 3
        X = X[groups] + 0.3 * X
        y = rng.permutation(np.arange(groups.max() + 1) % 2)[groups]
    kind = RepeatedStratifiedGroupKFold if grouped else RepeatedStratifiedKFold
    comparison = compare_models(
        MODELS,
        X,
        y,
        groups=groups,
        cv=kind(n_splits=5, n_repeats=n_repeats, random_state=seed),
        scoring=SCORES,
        random_state=seed,
    )
    ratio = comparison.splits.test_train_ratio
    pvalues = []
    for score in SCORES:
        differences = np.subtract(*(comparison.fold_scores(name, score) for name in MODELS))
        pvalues.append([corrected_resampled_ttest(differences, r).pvalue for r in (ratio, 0)])
    return pvalues


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-simulations", type=int, default=500)
    parser.add_argument("--n-samples", type=int, default=120)
    parser.add_argument("--n-features", type=int, default=10)
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(
        f"skcyto {skcyto.__version__}, scikit-learn {sklearn.__version__}, scipy "
        f"{scipy.__version__}; {arguments.n_simulations} comparisons of "
        f"{' and '.join(MODELS)} on shuffled labels, {arguments.n_samples} cases, five folds\n"
    )
    print("| folds | score | corrected rejects | ordinary paired t-test rejects |")
    print("|---|---|---:|---:|")
    settings = [(n_repeats, False) for n_repeats in arguments.repeats]
    settings.append((2, True))
    for n_repeats, grouped in settings:
        pvalues = Parallel(n_jobs=arguments.n_jobs)(
            delayed(simulate)(
                seed,
                n_samples=arguments.n_samples,
                n_features=arguments.n_features,
                n_repeats=n_repeats,
                grouped=grouped,
            )
            for seed in range(arguments.n_simulations)
        )
        shares = np.mean(np.asarray(pvalues) < 0.05, axis=0)
        for score, (corrected, naive) in zip(SCORES, shares, strict=True):
            print(
                f"| {n_repeats} x 5{', grouped' if grouped else ''} | {score} | "
                f"{corrected:.1%} | {naive:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
