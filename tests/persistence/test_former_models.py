"""Models that former versions of skcyto saved are read for good."""

import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skcyto
from skcyto.exceptions import ModelVersionWarning
from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.losses import LDAM, Minimax
from skcyto.model_selection import TunedLogitBiasClassifierCV
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.persistence._former_parameters import use_present_parameters
from skcyto.persistence._moved_types import _PUBLIC_PACKAGES
from skcyto.persistence._trusted_types import trusted_types
from skcyto.utils._damage import seal_json, unseal_json

FOLDER = Path(__file__).parent / "former_models"


def read(folder):
    with warnings.catch_warnings():
        # Other versions of NumPy, torch and the rest than it was saved with.
        warnings.simplefilter("ignore", ModelVersionWarning)
        return skcyto.load(folder, on_version_mismatch="warn")


@pytest.mark.skipif(
    sklearn.__version__.split(".")[:2] != ["1", "9"],
    reason="scikit-learn reads its own estimators of the same minor version only; the fixture has "
    "those of 1.9",
)
def test_a_model_that_names_private_modules_predicts_as_it_did():
    model = read(FOLDER / "private_paths")
    expected = json.loads((FOLDER / "private_paths_expected.json").read_text(encoding="utf-8"))
    assert [type(step) for _, step in model.steps[::2]] == [
        CorrelationTTestFilter,
        TunedLogitBiasClassifierCV,
    ]
    np.testing.assert_allclose(
        model.predict_proba(np.array(expected["X"])), expected["probabilities"], atol=1e-6
    )


def test_every_former_name_leads_to_a_trusted_public_one():
    assert len(_PUBLIC_PACKAGES) == 27
    for former, package in _PUBLIC_PACKAGES.items():
        assert f"{package}.{former.rpartition('.')[2]}" in trusted_types()


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), np.repeat([0, 1], 20)
    X[20:, 0] += 2
    network = ImbalancedMLPClassifier((3,), loss="focal", max_epochs=2, random_state=0)
    return make_pipeline(
        CorrelationTTestFilter(alpha=1.0), TunedLogitBiasClassifierCV(network, random_state=0)
    ).fit(X, y)


def test_saved_models_and_pickles_name_public_paths_only(fitted, tmp_path):
    path = skcyto.save(fitted, tmp_path / "model")
    with zipfile.ZipFile(path / "estimator.skops") as archive:
        schema = archive.read("schema.json").decode()
    assert '"skcyto.neural_network"' in schema
    assert "skcyto.neural_network._" not in schema
    assert b"skcyto.neural_network._imbalanced" not in pickle.dumps(
        ImbalancedMLPClassifier(loss="focal")
    )


def test_a_forged_former_name_is_no_way_in(fitted, tmp_path):
    """A private path that is not on the list is no type of skcyto's."""
    path = skcyto.save(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model")
    manifest = unseal_json((path / "manifest.json").read_bytes())
    with zipfile.ZipFile(path / "estimator.skops") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = entries["schema.json"].decode()
    entries["schema.json"] = schema.replace(
        '"sklearn.linear_model._logistic"', '"skcyto.persistence._save"'
    ).encode()
    with zipfile.ZipFile(path / "estimator.skops", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    data = (path / "estimator.skops").read_bytes()
    import hashlib

    manifest["files"]["estimator.skops"] = {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (path / "manifest.json").write_bytes(seal_json(manifest))
    with pytest.raises(skcyto.exceptions.InvalidModelError, match=r"skcyto\.persistence\._save"):
        skcyto.load(path)


def saved_by_former(model, path, renamed, *gone):
    """Save a model as a version did that had other names, and lacked some parameters."""
    for item, names in renamed:
        for former, present in names.items():
            vars(item)[former] = vars(item).pop(present)
    for name in gone:
        del vars(model)[name]
    return skcyto.save(model, path)


def test_former_names_of_parameters_are_read(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)).astype(np.float32), np.repeat([0, 1], [30, 10])
    model = ImbalancedMLPClassifier(
        (3,), loss=Minimax(grouping="chunk"), reduction="count", sampler="stratified", max_epochs=2
    ).fit(X, y)
    expected = model.predict_proba(X)
    renamed = [
        (model, {"normalize": "reduction"}),
        (model.loss, {"groups": "grouping"}),
    ]
    path = saved_by_former(model, tmp_path / "model", renamed, "n_iter_no_change")
    read = skcyto.load(path)
    np.testing.assert_allclose(read.predict_proba(X), expected, rtol=1e-12)
    assert read.get_params() == {
        **ImbalancedMLPClassifier().get_params(),
        "hidden_layer_sizes": (3,),
        "loss": Minimax(grouping="chunk"),
        "loss__grouping": "chunk",
        "loss__temperature": 0.0,
        "reduction": "count",
        "sampler": "stratified",
        "max_epochs": 2,
    }


def test_the_constant_of_ldam_becomes_its_largest_margin(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(97, 5)).astype(np.float32), np.repeat([0, 1], [81, 16])
    model = ImbalancedMLPClassifier(
        (3,), loss=LDAM(max_margin=0.6), max_epochs=2, validation_fraction=None
    ).fit(X, y)
    expected = model.predict_proba(X)
    loss = model.loss
    vars(loss).update(C=1.2, max_margin=0.5)
    read = skcyto.load(skcyto.save(model, tmp_path / "model"))
    assert read.loss_.max_margin == pytest.approx(1.2 / 2)  # 16 to the power of 1/4
    np.testing.assert_allclose(read.predict_proba(X), expected, rtol=1e-12)

    unfitted = ImbalancedMLPClassifier(loss=LDAM())
    vars(unfitted.loss)["C"] = 1.2
    with pytest.warns(ModelVersionWarning, match=r"LDAM\(C=1.2\), which is said by max_margin"):
        use_present_parameters(unfitted)
    assert unfitted.loss == LDAM()
