"""A sample report and model card, on measurements of cell nuclei that scikit-learn brings."""

import re
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto.inspection import explain
from skcyto.model_selection import compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

ROOT = Path(__file__).parents[2]


def write_readme_code(folder: Path):
    """Write the README's lines of Python to `readme.py`, for the landing page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    (folder / "readme.py").write_text(code, encoding="utf-8")


def write_samples(folder: Path):
    """Write `site/sample_report.html` and `model_card.md`, once for a build folder."""
    report = folder / "site" / "sample_report.html"
    card = folder / "model_card.md"
    if report.exists() and card.exists():
        return
    matplotlib.use("Agg")
    report.parent.mkdir(parents=True, exist_ok=True)
    data = load_breast_cancer(as_frame=True)
    y = np.asarray(data.target_names)[data.target]
    network = ImbalancedMLPClassifier((32,), max_epochs=30, random_state=0)
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "network": make_pipeline(StandardScaler(), network),
        "network, class weights": make_pipeline(
            StandardScaler(),
            ImbalancedMLPClassifier((32,), max_epochs=30, class_weight="balanced", random_state=0),
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        comparison = compare_models(models, data.data, y, random_state=0)
    comparison.to_html(report)
    model = models["logistic regression"].fit(data.data, y)
    explanation = explain(
        model, data.data[:50], background_data=data.data, method="auto", random_state=0
    )
    text = skcyto.model_card(
        model,
        comparison,
        explanation,
        data="Breast Cancer Wisconsin (Diagnostic): 30 measurements of cell nuclei in 569 "
        "fine-needle aspirates, of scikit-learn's load_breast_cancer.",
        intended_use="A sample for this page. Not for diagnosis.",
        limits="One hospital, before 1993; the patient of each aspirate is not known.",
    )
    card.write_text(text, encoding="utf-8")
