"""
How does it do elsewhere?
=========================

Cross-validation tests on cases of the same scanners and clinics as it trains on. Cases of another
place are given as ``external``: every model is fitted once more, on all cases, and tested there.
"""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import compare_models

X, y = make_classification(500, 15, n_informative=6, weights=[0.8], class_sep=1.2, random_state=0)
y = np.where(y == 1, "ill", "well")
here, there = slice(0, 300), slice(300, None)
rng = np.random.default_rng(0)
other_scanner = X[there] * rng.uniform(0.7, 1.3, 15) + rng.normal(0, 0.4, 15)

# %%
models = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "random forest": RandomForestClassifier(50),
}
comparison = compare_models(
    models,
    X[here],
    y[here],
    external={"site B": (other_scanner, y[there])},
    scoring=["roc_auc_ovr", "balanced_accuracy"],
    random_state=0,
)
print(comparison.to_markdown())

# %%
# The same tables and curves, on the other site alone.
print(comparison.external["site B"].to_markdown())
comparison.external["site B"].plot_roc()
