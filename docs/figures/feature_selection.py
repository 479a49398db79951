"""Make the figures of the feature selection guide.

    python docs/figures/feature_selection.py

Data: the Wisconsin breast cancer table that scikit-learn ships, 30 measures of cell nuclei from 569
fine-needle aspirates.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from skcyto.feature_selection import (
    CorrelationHeatmapDisplay,
    CorrelationTTestFilter,
    FeatureCorrelationDisplay,
    FeaturePValueDisplay,
    ImportanceThresholdDisplay,
    ImportanceThresholdSelector,
)

STATIC = Path(__file__).resolve().parents[1] / "_static"


def main():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    # A forest uses every measure of this table; ten columns that are almost always zero, as dead
    # dimensions of a network's tokens are, give it something to leave unused.
    rng = np.random.default_rng(0)
    for column in range(10):
        X[f"dead {column}"] = (rng.random(len(X)) < 0.005).astype(float)

    selector = ImportanceThresholdSelector(RandomForestClassifier(300, random_state=0)).fit(X, y)
    display = ImportanceThresholdDisplay.from_estimator(selector)
    display.figure_.savefig(STATIC / "feature_importances.png", dpi=100)

    filter_ = CorrelationTTestFilter().fit(X, y)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    FeaturePValueDisplay.from_estimator(filter_, ax=axes[0])
    FeatureCorrelationDisplay.from_estimator(filter_, ax=axes[1])
    figure.savefig(STATIC / "feature_filter.png", dpi=100)

    display = CorrelationHeatmapDisplay.from_estimator(filter_, X)
    display.figure_.savefig(STATIC / "feature_correlations.png", dpi=100)
    print(
        f"{selector.support_.sum()} of {X.shape[1]} by importance, threshold "
        f"{selector.threshold_:.3g}; {filter_.support_.sum()} by the filter"
    )
    print(filter_.dropped_["reason"].value_counts().to_string())


if __name__ == "__main__":
    main()
