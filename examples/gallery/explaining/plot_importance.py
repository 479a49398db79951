"""
Which features matter, and how sure is that?
============================================

:func:`~skcyto.inspection.explain` gives Shapley values of the features that reach the classifier,
with intervals: of two features whose intervals overlap, the data don't tell which is first.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import explain
from skcyto.inspection import ImportanceDisplay

data = load_breast_cancer(as_frame=True)
y = data.target_names[data.target]
train, test = data.data[:400], data.data[400:480]
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(train, y[:400])

# %%
# The background is part of the question: it comes from the training data. ``method="auto"`` takes exact
# values where there is a formula for them, as for a linear model.
explanation = explain(
    pipeline,
    test,
    background_data=train,
    method="auto",
    response_method="decision_function",
    random_state=0,
)
importance = explanation.global_importance(random_state=0)
print(importance.head(5).round(3))

# %%
ImportanceDisplay.from_explanation(explanation, max_features=10, random_state=0)
