"""
Tune the decision, not the model
================================

A model may rank cases well and still never decide for the rare class.
:class:`~skcyto.model_selection.TunedLogitBiasClassifierCV` leaves the probabilities as they are
and adds a number for each class to their logarithms, for any number of classes.
"""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skcyto import TunedLogitBiasClassifierCV, compare_models

X, y = make_classification(
    900,
    10,
    n_informative=5,
    n_classes=3,
    n_clusters_per_class=1,
    weights=[0.7, 0.22, 0.08],
    class_sep=0.7,
    random_state=3,
)
y = np.array(["normal", "mild", "severe"])[y]

# %%
# The biases are tuned on folds of the training part of each fold, so that the scores are honest.
logistic = LogisticRegression()
models = {
    "most probable class": logistic,
    "tuned for macro F1": TunedLogitBiasClassifierCV(logistic, scoring="f1_macro", cv=5),
}
comparison = compare_models(
    models, X, y, cv=5, scoring=["f1_macro", "balanced_accuracy", "accuracy"], random_state=0
)

# %%
# More of the rare classes are found, for some false alarms.
comparison.plot_confusion_matrices()
print(comparison.to_markdown())
