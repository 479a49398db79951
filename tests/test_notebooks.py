"""What notebooks show of skcyto's objects."""

from importlib import import_module

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

import skcyto
from skcyto import compare_models, explain
from skcyto.utils import all_estimators

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(60, 3)), columns=["area", "<b>darkness</b>", "roundness"])
y = np.where(X["area"] + rng.normal(size=60) > 0, "ill", "well")


def test_comparison_is_a_small_table():
    models = {"chance": DummyClassifier(), "a <b> name": LogisticRegression()}
    comparison = compare_models(models, X, y, cv=3, random_state=0)
    shown = comparison._repr_html_()
    assert shown.count("<table") == 1
    assert "macro F1" in shown
    assert "2 models on 60 cases" in shown
    assert "a &lt;b&gt; name" in shown
    assert shown.count("<th>") <= 1 + 6 + 2  # corner, scores, models
    card = skcyto.model_card(DummyClassifier().fit(X, y), comparison)
    assert card._repr_markdown_() == card


def test_explanation_shows_the_first_features():
    model = LogisticRegression().fit(X, y)
    shown = explain(model, X[:10], background_data=X, method="auto")._repr_html_()
    assert "area" in shown
    assert "&lt;b&gt;darkness&lt;/b&gt;" in shown


def test_diagrams_lead_to_the_reference():
    for name, estimator in all_estimators():
        package = estimator.__module__
        page = f"https://skcyto.github.io/skcyto/api/generated/{package}.{name}.html"
        assert estimator.__new__(estimator)._get_doc_link() == page


def test_shortcuts_are_the_public_objects():
    for name, package in skcyto._SHORTCUTS.items():
        module = import_module(f"skcyto.{package}")
        assert name in module.__all__
        assert getattr(skcyto, name) is getattr(module, name)
