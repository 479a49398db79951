"""
Is it a difference?
===================

Scores of folds overlap, and yet one model may be better in each. What counts is the difference from
a reference, fold by fold, and how sure it is given that folds share most of their training data.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import compare_models

data = load_breast_cancer()
models = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "majority": DummyClassifier(),
    "naive Bayes": GaussianNB(),
    "random forest": RandomForestClassifier(50),
}
comparison = compare_models(
    models,
    data.data,
    data.target_names[data.target],
    scoring=["f1_macro", "roc_auc_ovr"],
    random_state=0,
)

# %%
# The first candidate is the reference. Intervals allow for the training data that folds share.
comparison.plot_scores(metric="f1_macro")

# %%
# A large p-value doesn't say that two models are alike. The Bayesian test gives the probability
# that they are, to within 0.01.
print(comparison.bayesian(metric="f1_macro", rope=0.01).round(3))

# %%
# Curves with their spread over the folds, each with the others in gray.
comparison.plot_roc()
