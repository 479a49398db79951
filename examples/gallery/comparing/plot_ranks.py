"""
Ranks over several data sets
============================

On one data set a model may be lucky. Over several, their average ranks are compared: bars join
those that cannot be told apart.
"""

from sklearn.datasets import load_breast_cancer, load_iris, load_wine, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skcyto import compare_models

models = {
    "logistic regression": LogisticRegression(),
    "naive Bayes": GaussianNB(),
    "nearest neighbours": KNeighborsClassifier(),
    "decision tree": DecisionTreeClassifier(),
}
models = {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}
tables = {
    "iris": load_iris(return_X_y=True),
    "wine": load_wine(return_X_y=True),
    "aspirates": load_breast_cancer(return_X_y=True),
}
for seed in range(4):
    tables[f"made {seed}"] = make_classification(
        250, 12, n_informative=4 + seed, weights=[0.8], random_state=seed
    )
comparisons = {
    name: compare_models(models, X, y, cv=5, scoring=["balanced_accuracy"], random_state=0)
    for name, (X, y) in tables.items()
}

# %%
# Friedman's test over all, and Nemenyi's critical difference between two.
others = {name: comparison for name, comparison in comparisons.items() if name != "iris"}
comparisons["iris"].plot_critical_difference(others, name="iris", metric="balanced_accuracy")
