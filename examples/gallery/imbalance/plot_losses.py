"""
Losses for a rare class
=======================

Plain cross-entropy is content to overlook a rare class. Which loss is better depends on what you
ask for: here four of them, on measurements of cell nuclei with nine benign cases to a malignant one.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import ImbalancedMLPClassifier, compare_models
from skcyto.losses import LDAM, Focal

data = load_breast_cancer()
y = data.target_names[data.target]
rng = np.random.default_rng(0)
malignant = rng.choice(np.flatnonzero(y == "malignant"), 40, replace=False)
rows = np.concatenate([np.flatnonzero(y == "benign"), malignant])
X, y = data.data[rows], y[rows]

# %%
# The network stays the same; only its loss differs.
losses = {
    "cross-entropy": {},
    "weighted": {"class_weight": "balanced"},
    "focal": {"loss": Focal(gamma=2.0)},
    "LDAM": {"loss": LDAM()},
    "balanced softmax": {"loss": "balanced_softmax"},
}
models = {
    name: make_pipeline(
        StandardScaler(), ImbalancedMLPClassifier((16,), max_epochs=30, dropout=0.2, **params)
    )
    for name, params in losses.items()
}
comparison = compare_models(
    models,
    X,
    y,
    scoring=["balanced_accuracy", "f1_macro", "roc_auc_ovr", "recall_per_class"],
    random_state=0,
)

# %%
# Left, every fold; right, its difference from cross-entropy. The losses trade errors of one class
# for errors of the other, and an area under the ROC curve sees no difference at all.
comparison.plot_scores(metric="balanced_accuracy")
print(comparison.to_markdown(["balanced_accuracy", "f1_macro", "roc_auc_ovr"]))
