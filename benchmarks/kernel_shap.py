"""Time of Kernel SHAP a row: skcyto's explain against a bare loop over shap's KernelExplainer.

Both explain the same rows of the same classifier with the same background, number of coalitions and
``l1_reg=0``. The bare loop is what a user writes with shap alone.

    python benchmarks/kernel_shap.py
"""

import argparse
import platform
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import shap
import sklearn
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from skcyto import __version__
from skcyto.inspection import explain
from skcyto.neural_network import ImbalancedMLPClassifier

CLASSIFIERS = {
    "logistic regression": lambda: LogisticRegression(max_iter=50),
    "MLP (128)": lambda: ImbalancedMLPClassifier((128,), max_epochs=5, random_state=0),
    "MLP (1024, 512, 256)": lambda: ImbalancedMLPClassifier(
        (1024, 512, 256), max_epochs=2, random_state=0
    ),
    "random forest (20 trees)": lambda: RandomForestClassifier(20, random_state=0),
}


def make_data(n_features, background, rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, n_features)).astype(np.float32)
    y = np.argmax(X[:, :3] + 0.5 * rng.normal(size=(600, 3)), axis=1)
    return X, y, X[:background], X[-rows:]


def with_shap(classifier, background, rows, n_jobs):
    explainer = shap.KernelExplainer(classifier.predict_proba, background)
    return explainer.shap_values(rows, l1_reg=0, silent=True)


def with_skcyto(classifier, background, rows, n_jobs):
    explanation = explain(
        classifier,
        rows,
        background_data=background,
        background=len(background),
        random_state=0,
        n_jobs=n_jobs,
    )
    return explanation.values


def measure(name, way, args):
    """Run one way in this process; print seconds a row and peak memory."""
    warnings.simplefilter("ignore")
    X, y, background, rows = make_data(args.features, args.background, args.rows)
    classifier = CLASSIFIERS[name]().fit(X, y)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = with_shap if way == "shap" else with_skcyto
    start = time.perf_counter()
    values = run(classifier, background, rows, args.n_jobs)
    seconds = (time.perf_counter() - start) / args.rows
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = values.sum(axis=1)
    target = classifier.predict_proba(rows) - classifier.predict_proba(background).mean(axis=0)
    print(seconds, (after - before) / 1024, np.abs(total - target).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--n-jobs", type=int, default=1, help="of skcyto; shap has none")
    parser.add_argument(
        "--classifier", choices=list(CLASSIFIERS), nargs="*", default=list(CLASSIFIERS)
    )
    parser.add_argument("--only", nargs=2, metavar=("CLASSIFIER", "WAY"))
    args = parser.parse_args()
    if args.only:
        measure(*args.only, args)
        return
    print(
        f"Python {platform.python_version()}, shap {shap.__version__}, scikit-learn "
        f"{sklearn.__version__}, torch {torch.__version__} on {torch.get_num_threads()} threads, "
        f"skcyto {__version__}; {args.features} features, background {args.background}, "
        f"{args.rows} rows, n_jobs={args.n_jobs}\n"
    )
    print(
        "| classifier | shap, s a row | skcyto, s a row | ratio | shap, MB | skcyto, MB | "
        "additivity error |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in args.classifier:
        results = {}
        for way in ("shap", "skcyto"):
            # A process of its own each: memory that shap took would not be given back.
            command = [sys.executable, __file__, "--only", name, way]
            for option in ("features", "background", "rows", "n_jobs"):
                command += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            results[way] = [float(number) for number in output.split()[-3:]]
        (bare, bare_mb, _), (ours, ours_mb, error) = results["shap"], results["skcyto"]
        print(
            f"| {name} | {bare:.2f} | {ours:.2f} | {bare / ours:.1f} | {bare_mb:.0f} | "
            f"{ours_mb:.0f} | {error:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
