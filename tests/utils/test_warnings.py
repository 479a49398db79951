"""Warnings point to the line of the user's that led to them, however deep they were found."""

import re
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import EpochTimer

import skcyto
from skcyto.datasets import load_image_folder
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.losses import compute_class_weight, get_loss
from skcyto.model_selection import compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.repeat([0, 1], [40, 20])
GROUPS = np.arange(60) // 3
IMAGES = np.zeros((2, 28, 28, 3), np.uint8)


def network(**settings):
    settings = {"hidden_layer_sizes": (4,), "max_epochs": 2, "batch_size": 16, **settings}
    return ImbalancedMLPClassifier(random_state=0, **settings)


def embedder():
    return EVA02TokenEmbedder("eva02_tiny_patch14_224", weights=None, image_size=28, random_state=0)


def twice(estimator):
    return {"a": estimator}


CALLS = {
    "inner folds split groups": lambda folder: compare_models(
        twice(GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3)),
        X, Y, groups=GROUPS, cv=3, scoring="accuracy",
    ),
    "class missing in folds": lambda folder: compare_models(
        twice(LogisticRegression()), X, np.r_[np.zeros(57), 1, 2, 2], cv=3, scoring="accuracy"
    ),
    "loss and head": lambda folder: network(loss="ldam", cosine_head=False).fit(X, Y),
    "corrected twice": lambda folder: network(sampler="balanced", class_weight="balanced").fit(
        X, Y
    ),
    "no validation row": lambda folder: network(validation_fraction=0.001).fit(X, Y),
    "no validation row, groups": lambda folder: network(validation_fraction=0.001).fit(
        X[[0, 1, 50, 51]], Y[[0, 1, 50, 51]], groups=np.arange(4)
    ),
    "uneven groups": lambda folder: network(validation_fraction=0.1).fit(
        X, Y, groups=np.repeat([0, 1, 2], 20)
    ),
    "unknown class": lambda folder: network(class_weight={0: 1.0, 1: 2.0, 7: 3.0}).fit(X, Y),
    "in a pipeline": lambda folder: make_pipeline(
        CorrelationTTestFilter(alpha=1.0), network(class_weight={0: 1.0, 1: 2.0, 7: 3.0})
    ).fit(X, Y),
    "stacked": lambda folder: compare_models(
        twice(network(sampler="balanced", class_weight="balanced")),
        X, Y, cv=3, scoring="accuracy", engine="stacked",
    ),
    "constant feature": lambda folder: CorrelationTTestFilter(alpha=1.0).fit_transform(
        np.c_[X, np.ones(60)], Y
    ),
    "class without case": lambda folder: get_loss("focal").build([10, 0]),
    "weight of no case": lambda folder: compute_class_weight("balanced", [10, 0]),
    "random weights": lambda folder: embedder().fit(IMAGES),
    "random weights, fit_transform": lambda folder: embedder().fit_transform(IMAGES),
    "callbacks left out": lambda folder: skcyto.save(
        network(callbacks=[EpochTimer()]).fit(X, Y), folder / "model"
    ),
    "rows left out": lambda folder: load_image_folder(_damaged(folder), on_error="warn"),
}  # fmt: skip


def _damaged(folder):
    from PIL import Image

    (folder / "cells" / "a").mkdir(parents=True)
    Image.fromarray(IMAGES[0]).save(folder / "cells" / "a" / "1.png")
    (folder / "cells" / "a" / "2.png").touch()
    return folder / "cells"


@pytest.mark.parametrize("case", CALLS)
def test_points_to_the_callers_line(case, tmp_path):
    with warnings.catch_warnings(record=True) as caught, suppress(ValueError):
        warnings.simplefilter("always")
        CALLS[case](tmp_path)
    assert caught
    assert {warning.filename for warning in caught} == {__file__}


def test_no_level_is_counted_by_hand():
    package = Path(skcyto.__file__).parent
    counted = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "_warnings.py"
        and re.search(r"stacklevel=|warnings\.warn\(", path.read_text(encoding="utf-8"))
    ]
    assert counted == []
