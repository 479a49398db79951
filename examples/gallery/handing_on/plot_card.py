"""
A model to hand on
==================

:func:`skcyto.save` writes a folder without pickle that predicts the same elsewhere, without network,
and :func:`skcyto.model_card` says what the model is and how well it does.
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto

data = load_breast_cancer()
X, y = data.data, data.target_names[data.target]
model = make_pipeline(StandardScaler(), LogisticRegression())
comparison = skcyto.compare_models({"logistic regression": model}, X, y, cv=5, random_state=0)

# %%
# What is known from the objects is filled in; what only people know is yours to state.
model.fit(X, y)
card = skcyto.model_card(
    model,
    comparison,
    data="Breast Cancer Wisconsin (Diagnostic), of scikit-learn.",
    intended_use="A sample. Not for diagnosis.",
)
print(card[: card.index("## Scores")])

# %%
# The folder is complete in itself.
folder = Path(tempfile.mkdtemp()) / "model"
skcyto.save(model, folder, card=card)
for file in sorted(folder.iterdir()):
    print(f"{file.stat().st_size:8,d} bytes  {file.name}")
same = skcyto.load(folder)
print(np.array_equal(same.predict_proba(X), model.predict_proba(X)))

# %%
# Whether its probabilities mean what they say, on cases that it has not seen.
comparison.plot_calibration()
