"""
What happens when folds split patients
======================================

Several images of a patient look alike. If some of them train and others test, a model is scored on
what it has seen. Here the labels are drawn by lot for each patient: nothing can be learnt, and an
honest area under the ROC curve is 0.5.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

from skcyto import compare_models

rng = np.random.default_rng(0)
n_patients, n_images = 40, 6
patient = np.repeat(np.arange(n_patients), n_images)
X = rng.normal(size=(n_patients, 20))[patient] + 0.6 * rng.normal(size=(len(patient), 20))
y = np.where(rng.permutation(n_patients) < 12, "ill", "well")[patient]

# %%
# The same forest, on folds that split patients and on folds that don't.
forest = {"forest": RandomForestClassifier(50)}
split = compare_models(
    forest,
    X,
    y,
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
    scoring=["roc_auc_ovr"],
    random_state=0,
)
whole = compare_models(forest, X, y, groups=patient, cv=5, scoring=["roc_auc_ovr"], random_state=0)

# %%
# One of these figures would have been published.
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for row, (_, comparison) in enumerate({"split": split, "whole": whole}.items()):
    scores = comparison.scores["roc_auc_ovr"].to_numpy()
    ax.plot(scores, np.full(len(scores), row), "o", alpha=0.6)
    ax.plot(scores.mean(), row, "k|", markersize=22)
ax.axvline(0.5, color="gray", linestyle=":")
ax.set(
    yticks=[0, 1],
    yticklabels=["patients are split", "patients stay whole"],
    ylim=(-0.5, 1.5),
    xlim=(0, 1.02),
    xlabel="ROC AUC of each fold, and mean",
)
plt.show()
