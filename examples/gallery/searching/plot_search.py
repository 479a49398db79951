"""
Search the network's settings
=============================

:func:`~skcyto.model_selection.suggest_space` proposes what to search in a pipeline, and
:class:`~skcyto.model_selection.OptunaSearchCV` searches it like a ``GridSearchCV`` with a sampler
that learns.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import ImbalancedMLPClassifier, OptunaSearchCV, suggest_space

data = load_breast_cancer()
X, y = data.data, data.target_names[data.target]
pipeline = make_pipeline(
    StandardScaler(), ImbalancedMLPClassifier((16,), max_epochs=10, loss="focal", random_state=0)
)
space = suggest_space(pipeline)
for name, distribution in space.items():
    print(name, distribution)

# %%
# Twelve candidates on three folds.
search = OptunaSearchCV(pipeline, space, n_trials=12, cv=3, scoring="f1_macro", random_state=0)
search.fit(X, y)
print(search.best_params_)

# %%
# The best so far. It is the best of twelve, and too good for that reason alone: hand the whole search
# to :func:`~skcyto.model_selection.compare_models` for an honest score.
scores = search.cv_results_["mean_test_score"]
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(np.arange(1, len(scores) + 1), scores, "o", alpha=0.6, label="candidate")
ax.step(np.arange(1, len(scores) + 1), np.maximum.accumulate(scores), where="post", label="best")
ax.set(xlabel="candidate", ylabel="macro F1 over three folds")
ax.legend()
plt.show()
