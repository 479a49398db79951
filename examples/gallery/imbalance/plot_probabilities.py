"""
Probabilities after class weights
=================================

Whatever lifts the recall of a rare class lifts its probabilities above what is true. For class
weights the shift is known exactly, and ``predict_proba_prior`` takes it back.
"""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import ImbalancedMLPClassifier, compare_models

X, y = make_classification(
    1200, 12, n_informative=5, weights=[0.9], class_sep=0.8, flip_y=0.02, random_state=0
)
y = np.where(y == 1, "ill", "well")

# %%
# The same network three times: without weights, with them, and with them under the prior of the
# training data.
mlp = {"hidden_layer_sizes": (16,), "max_epochs": 25, "dropout": 0.2}
models = {
    "no weights": ImbalancedMLPClassifier(**mlp),
    "weights": ImbalancedMLPClassifier(**mlp, class_weight="balanced"),
    "weights, prior taken back": ImbalancedMLPClassifier(
        **mlp, class_weight="balanced", predict_proba_prior="train"
    ),
}
models = {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}
comparison = compare_models(
    models, X, y, cv=5, scoring=["neg_log_loss", "neg_expected_calibration_error"], random_state=0
)

# %%
# Points on the diagonal keep what they say: of the cases with a probability of 0.3, three in ten
# are ill.
comparison.plot_calibration()
print(comparison.to_markdown())
