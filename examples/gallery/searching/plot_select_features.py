"""
Select features inside the fold
===============================

Radiomics repeat one another, and most say nothing about the class.
:class:`~skcyto.feature_selection.CorrelationTTestFilter` keeps what differs between the classes, and of
features that say the same one.
"""

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import CorrelationTTestFilter, compare_models
from skcyto.feature_selection import CorrelationHeatmapDisplay, FeaturePValueDisplay

# %%
# Ten features that mean something, each in six noisy copies, among a hundred that mean nothing.
X, y = make_classification(
    120, 10, n_informative=6, n_redundant=0, weights=[0.75], class_sep=0.9, random_state=1
)
rng = np.random.default_rng(0)
copies = np.repeat(X, 6, axis=1) + 0.25 * rng.normal(size=(120, 60))
X = pd.DataFrame(np.hstack([copies, rng.normal(size=(120, 100))])).add_prefix("feature_")
y = np.where(y == 1, "ill", "well")
selector = CorrelationTTestFilter(alpha=0.05, correlation_threshold=0.8).fit(X, y)
print(f"{X.shape[1]} features, {selector.get_support().sum()} are kept")

# %%
# Without any difference between the classes, p-values follow the dotted line.
FeaturePValueDisplay.from_estimator(selector)

# %%
# Every frame becomes one feature.
CorrelationHeatmapDisplay.from_estimator(selector, X)

# %%
# The filter looks at the labels, so that it belongs into the pipeline, where each fold has its own.
classifier = [StandardScaler(), LogisticRegression()]
comparison = compare_models(
    {"all": make_pipeline(*classifier), "filtered": make_pipeline(selector, *classifier)},
    X,
    y,
    cv=5,
    scoring=["roc_auc_ovr", "f1_macro"],
    random_state=0,
)
print(comparison.to_markdown())
