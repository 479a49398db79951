"""Files and databases are closed by the code that opens them, not by the garbage collector."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from skcyto.datasets import make_cell_images, make_orbit_mri
from skcyto.feature_extraction import EVA02TokenEmbedder, EmbeddingCache, RadiomicsExtractor
from skcyto.model_selection import OptunaSearchCV, compare_models

folder = Path(sys.argv[1])
cells = make_cell_images(12, image_size=32, random_state=0)
y = np.arange(12) % 2
for _ in range(2):  # the second time all of it is found on disk
    embedder = EVA02TokenEmbedder(
        "test_vit", weights=None, image_size=32, cache=folder / "embeddings", random_state=0
    )
    X = embedder.fit_transform(cells.images)
    search = OptunaSearchCV(
        LogisticRegression(),
        {"C": [0.1, 1.0]},
        n_trials=2,
        cv=2,
        storage=f"sqlite:///{folder / 'search.db'}",
        random_state=0,
    ).fit(X, y)
    OptunaSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=2, cv=2, storage="sqlite://"
    ).fit(X, y)
    compare_models(
        {"logistic": LogisticRegression(), "prior": DummyClassifier()},
        X,
        y,
        cv=StratifiedKFold(2),
        checkpoint=folder / "checkpoint",
    )
    scans = make_orbit_mri(
        1, size=(48, 48, 12), spacing=(1.2, 1.2, 4), path=folder / "scans", random_state=0
    )
    RadiomicsExtractor(cache=folder / "radiomics").fit_transform(scans.data)
assert EmbeddingCache(folder / "embeddings").info().hits == 12
assert len(search.study_.trials) == 2
print("done")
"""


def test_nothing_is_left_open(tmp_path):
    pytest.importorskip("radiomics")
    options = ["-X", "dev", "-W", "error::ResourceWarning"]
    done = subprocess.run(
        [sys.executable, *options, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    # What is left open is said on the way out, as an exception that is ignored.
    assert "ResourceWarning" not in done.stderr
    assert "Exception ignored" not in done.stderr
