"""Make the figures of docs/guide/comparison.md: `python docs/figures/comparison.py`."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.model_selection import compare_models

STATIC = Path(__file__).resolve().parents[1] / "_static"

MODELS = {
    "majority": DummyClassifier(),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "balanced logistic regression": make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced")
    ),
    "naive Bayes": GaussianNB(),
    "random forest": RandomForestClassifier(100),
}


def make_patients(seed):
    """Ninety patients with three images each; 9 : 3 : 1 in healthy, rubbish, unhealthy."""
    X, y = make_classification(
        90,
        12,
        n_informative=6,
        n_classes=3,
        weights=[9 / 13, 3 / 13, 1 / 13],
        class_sep=1.2,
        random_state=seed,
    )
    patients = np.repeat(np.arange(90), 3)
    images = X[patients] + np.random.default_rng(seed).normal(scale=0.7, size=(270, 12))
    return images, np.array(["healthy", "rubbish", "unhealthy"])[y][patients], patients


def compare(seed):
    X, y, patients = make_patients(seed)
    return compare_models(MODELS, X, y, groups=patients, random_state=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="also write the HTML page here")
    arguments = parser.parse_args()
    comparison = compare(0)
    print(comparison.to_markdown(["f1_macro", "roc_auc_ovr", "log_loss"]))
    print(comparison.ttest(reference="logistic regression").round(3).to_string())
    print(comparison.bayesian(reference="logistic regression").round(3).to_string())
    others = {f"data set {seed + 1}": compare(seed) for seed in range(1, 8)}
    displays = {
        "scores": comparison.plot_scores(reference="logistic regression"),
        "roc": comparison.plot_roc(models=[name for name in MODELS if name != "majority"]),
        "ranks": comparison.plot_critical_difference(others, name="data set 1"),
    }
    for name, display in displays.items():
        display.figure_.savefig(STATIC / f"comparison_{name}.png", dpi=100)
        plt.close(display.figure_)
    if arguments.page:
        comparison.to_html(arguments.page, reference="logistic regression")


if __name__ == "__main__":
    main()
