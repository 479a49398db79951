"""A saved pipeline comes back as it was, elsewhere and without what it was made from."""

import json
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import StratifiedKFold, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import EpochTimer

import skcyto
from skcyto.exceptions import (
    DamagedFileWarning,
    InvalidModelError,
    ModelSavingWarning,
    RandomWeightsWarning,
)
from skcyto.feature_extraction import EVA02TokenEmbedder, RadiomicsExtractor
from skcyto.feature_selection import CorrelationTTestFilter, ImportanceThresholdSelector
from skcyto.losses import Focal, LogitAdjusted, available
from skcyto.metrics import get_scorer
from skcyto.model_selection import OptunaSearchCV, TunedLogitBiasClassifierCV
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
from skcyto.persistence._manifest import check_files
from skcyto.persistence._trusted_types import trusted_types, type_name
from skcyto.utils import all_estimators
from skcyto.utils._atomic import _node

FRESH_PROCESS = """
import socket, sys
import numpy as np

def refuse(*args, **kwargs):
    raise AssertionError("the network was used")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import skcyto
model = skcyto.load(sys.argv[1])
np.save(sys.argv[3], model.predict_proba(np.load(sys.argv[2])))
"""


def mlp(**params):
    defaults = {"hidden_layer_sizes": (6, 0.5), "max_epochs": 4, "random_state": 0}
    return ImbalancedMLPClassifier(**{**defaults, **params})


def fitted(estimator, table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*table)


def plain_params(estimator):
    """Parameters as text, with the names that stand for types."""
    names = {"<class 'torch.optim.sgd.SGD'>": "'sgd'", "device(type='cpu')": "'cpu'"}
    params = {name: repr(value) for name, value in estimator.get_params().items()}
    params = {name: value.split(" at 0x")[0] for name, value in params.items()}
    for name, value in params.items():
        for long, short in names.items():
            params[name] = value = value.replace(long, short)
    return {name: "".join(value.split()) for name, value in params.items()}


def assert_same(model, loaded, X):
    assert (loaded.predict(X) == model.predict(X)).all()
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(
            loaded.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-12
        )


def test_fresh_process_without_network(saved, cells, tmp_path):
    np.save(tmp_path / "images.npy", cells.images)
    command = [sys.executable, "-c", FRESH_PROCESS, saved.path]
    done = subprocess.run(
        [*command, tmp_path / "images.npy", tmp_path / "out.npy"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(loaded, saved.probabilities, rtol=0, atol=1e-6)


def test_embedder_keeps_nothing_of_the_machine_it_was_fitted_on(saved, cells):
    embedder = skcyto.load(saved.path)[0]
    assert embedder.cache is None
    assert embedder.weights == str(saved.path / "weights-0.safetensors")
    # A clone of it can be fitted, though the file of the first fit is gone.
    again = clone(embedder).fit_transform(cells.images[:4])
    np.testing.assert_array_equal(again, embedder.transform(cells.images[:4]))


def test_random_weights_are_saved_as_they_were_drawn(cells, tmp_path):
    embedder = EVA02TokenEmbedder(
        "eva02_tiny_patch14_224", weights=None, image_size=28, random_state=3
    )
    with pytest.warns(RandomWeightsWarning):
        features = embedder.fit_transform(cells.images[:5])
    loaded = skcyto.load(skcyto.save(embedder, tmp_path / "model"))
    np.testing.assert_allclose(loaded.transform(cells.images[:5]), features, atol=1e-6)


def tiny_classifier(**params):
    return EVA02Classifier(
        "eva02_tiny_patch14_224",
        weights=None,
        image_size=28,
        learning_rate=1e-3,
        max_epochs=2,
        validation_fraction=None,
        random_state=0,
        **params,
    )


@pytest.mark.parametrize("loss", ["focal", "ldam"])
def test_fine_tuned_classifier(cells, tmp_path, loss):
    classifier = tiny_classifier(loss=loss, checkpoint=tmp_path / "checkpoints")
    classifier = fitted(classifier, (cells.images, cells.target))
    loaded = skcyto.load(skcyto.save(classifier, tmp_path / "model"))
    np.testing.assert_allclose(
        loaded.predict_proba(cells.images), classifier.predict_proba(cells.images), atol=1e-6
    )
    assert loaded.checkpoint is None
    assert loaded.history_ == classifier.history_


def test_embedder_that_was_fine_tuned_in_the_pipeline(cells, tmp_path):
    embedder = EVA02TokenEmbedder(finetune=tiny_classifier(), tokens=["class", "image"])
    selector = ImportanceThresholdSelector(LogisticRegression(), threshold="median")
    pipeline = fitted(make_pipeline(embedder, selector, mlp()), (cells.images, cells.target))
    path = skcyto.save(pipeline, tmp_path / "model")
    loaded = skcyto.load(path)
    np.testing.assert_allclose(
        loaded.predict_proba(cells.images), pipeline.predict_proba(cells.images), atol=1e-6
    )
    # The weights are there once, and what is cached under their identity stays of use.
    assert len(list(path.glob("*.safetensors"))) == 2
    assert loaded[0]._weights_identity == pipeline[0]._weights_identity
    np.testing.assert_allclose(
        loaded[0].finetune_.predict_proba(cells.images),
        pipeline[0].finetune_.predict_proba(cells.images),
        atol=1e-6,
    )


PIPELINES = {
    "forest": RandomForestClassifier(5, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=4, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=4),
    "neighbours": KNeighborsClassifier(7, weights="distance", algorithm="kd_tree"),
    "ball": KNeighborsClassifier(algorithm="ball_tree", metric="minkowski", p=1.5),
    "best features": make_pipeline(SelectKBest(k=4), LogisticRegression()),
    "missing values": make_pipeline(SimpleImputer(), LogisticRegression()),
    "process": GaussianProcessClassifier(1.0 * RBF(2.0), random_state=0),
    "svm": make_pipeline(StandardScaler(), SVC()),
    "function": make_pipeline(FunctionTransformer(np.arcsinh), LogisticRegression()),
    "calibrated": CalibratedClassifierCV(mlp(), cv=2),
    "bagging": BaggingClassifier(mlp(), n_estimators=2, max_features=0.5, random_state=0),
    "stacking": StackingClassifier([("a", SVC()), ("b", mlp())], cv=2),
    "threshold": TunedThresholdClassifierCV(LogisticRegression(), scoring="f1_macro", cv=2),
    "sampling": make_sampling_pipeline(StandardScaler(), SMOTE(random_state=0), mlp()),
    "bias": TunedLogitBiasClassifierCV(
        make_pipeline(StandardScaler(), mlp()),
        scoring=get_scorer("average_f1"),
        cv=StratifiedKFold(2),
        store_cv_results=True,
    ),
    "selection": make_pipeline(
        ImportanceThresholdSelector(RandomForestClassifier(5, random_state=0), threshold="mean"),
        mlp(loss=LogitAdjusted(tau=0.5), predict_proba_prior=[0.4, 0.6]),
    ),
    "random state": mlp(random_state=np.random.RandomState(3), activation="gelu"),
    "weights by label": mlp(class_weight={"ill": 2.0}, optimizer=torch.optim.SGD),
    "linear": mlp(hidden_layer_sizes=(), cosine_head=True, device=torch.device("cpu")),
    "pandas": make_pipeline(StandardScaler().set_output(transform="pandas"), mlp()),
    **{f"loss {loss}": mlp(loss=loss) for loss in available()},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_round_trip(name, table, tmp_path):
    pipeline = fitted(clone(PIPELINES[name]), table)
    loaded = skcyto.load(skcyto.save(pipeline, tmp_path / "model"))
    assert_same(pipeline, loaded, table[0])
    assert plain_params(loaded) == plain_params(pipeline)


def test_training_rows_of_a_sampler_are_not_saved(table, tmp_path):
    pipeline = fitted(make_sampling_pipeline(SMOTE(random_state=0), LogisticRegression()), table)
    loaded = skcyto.load(skcyto.save(pipeline, tmp_path / "model"))
    assert hasattr(pipeline[0], "nn_k_")
    assert not hasattr(loaded[0], "nn_k_")
    assert loaded.fit(*table).score(*table) == pipeline.score(*table)


def test_names_and_tables_of_features_come_back(table, tmp_path):
    X, y = table
    X = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    X["copy"] = X["f0"]
    pipeline = make_pipeline(CorrelationTTestFilter(), LogisticRegression()).fit(X, y)
    loaded = skcyto.load(skcyto.save(pipeline, tmp_path / "model"))
    assert_same(pipeline, loaded, X)
    pd.testing.assert_frame_equal(loaded[0].dropped_, pipeline[0].dropped_)
    assert loaded[:-1].get_feature_names_out().tolist() == list(
        pipeline[:-1].get_feature_names_out()
    )


def test_best_estimator_of_a_search(table, tmp_path):
    X, y = table
    search = OptunaSearchCV(
        mlp(loss="focal"), {"loss__gamma": [0.5, 2.0]}, n_trials=2, cv=2, random_state=0
    ).fit(X, y)
    with pytest.raises(TypeError, match="save its best_estimator_"):
        skcyto.save(search, tmp_path / "search")
    loaded = skcyto.load(skcyto.save(search.best_estimator_, tmp_path / "model"))
    assert loaded.loss == Focal(gamma=search.best_params_["loss__gamma"])
    assert_same(search.best_estimator_, loaded, X)


def test_radiomics(tmp_path):
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 20, 20), dtype=np.uint8)
    masks[:, 4:15, 5:16] = 1
    scans = [(rng.normal(size=(20, 20)) * 30 + 100 * i, mask) for i, mask in enumerate(masks)]
    settings = tmp_path / "settings.yaml"
    settings.write_text("imageType: {Original: {}}\nfeatureClass: {firstorder: []}\n")
    pipeline = make_pipeline(
        RadiomicsExtractor({"cell": 1}, settings, cache=tmp_path / "cache"),
        LogisticRegression(max_iter=5000),
    )
    fitted(pipeline, (scans, [0, 0, 0, 1, 1, 1]))
    path = skcyto.save(pipeline, tmp_path / "model")
    settings.unlink()
    loaded = skcyto.load(path)
    assert_same(pipeline, loaded, scans)
    pd.testing.assert_frame_equal(loaded[0].feature_table_, pipeline[0].feature_table_)
    assert loaded[0].cache is None
    assert clone(loaded[0]).fit(scans).settings_ == pipeline[0].settings_


@pytest.mark.parametrize("module", [pickle, joblib])
def test_pickle_and_joblib_work_too(module, saved, cells, tmp_path):
    # A pickle names the embedder's weights by their place, which is the saved model here.
    pipeline = skcyto.load(saved.path)
    with open(tmp_path / "file", "wb") as file:
        module.dump(pipeline, file)
    with open(tmp_path / "file", "rb") as file:
        again = module.load(file)
    np.testing.assert_allclose(
        again.predict_proba(cells.images), saved.probabilities, rtol=0, atol=1e-6
    )


def test_every_public_estimator_and_loss_is_known():
    import skcyto.losses

    losses = {
        type_name(getattr(skcyto.losses, name))
        for name in skcyto.losses.__all__
        if isinstance(getattr(skcyto.losses, name), type)
        and issubclass(getattr(skcyto.losses, name), skcyto.losses.Loss)
        and name != "Loss"
    }
    estimators = {type_name(cls) for _, cls in all_estimators() if cls is not OptunaSearchCV}
    assert losses | estimators <= set(trusted_types())
    assert {name for name in trusted_types() if name.startswith(("skcyto.l", "skcyto.n"))} <= (
        losses | estimators
    ), "a name that no longer exists"


class TestDevices:
    def test_trained_on_a_gpu_loads_on_the_cpu(self, table, tmp_path, monkeypatch):
        classifier = fitted(mlp(), table)
        expected = classifier.predict_proba(table[0])
        classifier.device = "cuda:0"  # as it was given where there is a GPU
        path = skcyto.save(classifier, tmp_path / "model")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.warns(UserWarning, match="runs on the CPU: device='cuda:0' was asked for"):
            loaded = skcyto.load(path)
        assert loaded.device == "cpu"
        np.testing.assert_allclose(loaded.predict_proba(table[0]), expected, atol=1e-12)
        assert skcyto.load(path, device="cpu").device == "cpu"

    def test_unknown_device_is_an_error(self, saved):
        with pytest.raises(ValueError, match="no torch device"):
            skcyto.load(saved.path, device="abacus")

    @pytest.mark.gpu
    def test_real_gpu(self, table, tmp_path):
        classifier = fitted(mlp(device="cuda"), table)
        loaded = skcyto.load(skcyto.save(classifier, tmp_path / "model"), device="cpu")
        assert next(loaded.net_.module_.parameters()).device.type == "cpu"
        np.testing.assert_allclose(
            loaded.predict_proba(table[0]), classifier.predict_proba(table[0]), atol=1e-5
        )


class TestSaving:
    def test_files_and_manifest(self, saved):
        manifest = json.loads((saved.path / "manifest.json").read_text(encoding="utf-8"))
        assert set(manifest["files"]) == {
            "README.md",
            "estimator.skops",
            "weights-0.safetensors",
            "weights-1.safetensors",
        }
        assert {"skcyto", "scikit-learn", "torch", "timm", "numpy", "python"} <= set(
            manifest["versions"]
        )
        assert manifest["classes"] == ["healthy", "rubbish", "unhealthy"]
        assert (saved.path / "README.md").read_text(encoding="utf-8") == "# A model\n"

    def test_saving_does_not_change_the_pipeline(self, table, tmp_path):
        pipeline = make_pipeline(StandardScaler(), mlp(), memory=str(tmp_path / "memory"))
        fitted(pipeline, table)
        net, parameters = pipeline[-1].net_, pipeline.get_params()
        path = skcyto.save(pipeline, tmp_path / "model")
        assert pipeline[-1].net_ is net
        assert pipeline.get_params() == parameters
        assert skcyto.load(path).memory is None  # a cache of joblib holds pickles

    def test_nothing_is_overwritten_unless_asked(self, table, tmp_path):
        first = fitted(LogisticRegression(C=1.0), table)
        second = fitted(LogisticRegression(C=2.0), table)
        path = skcyto.save(first, tmp_path / "model")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            skcyto.save(second, path)
        assert skcyto.load(path).C == 1.0
        skcyto.save(second, path, overwrite=True)
        assert skcyto.load(path).C == 2.0
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "scan.nii").touch()
        with pytest.raises(FileExistsError, match="is no saved model"):
            skcyto.save(second, tmp_path / "data", overwrite=True)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "model"]

    @pytest.mark.parametrize("next_call", ["load", "save"])
    def test_killed_between_two_renames(self, table, tmp_path, next_call):
        """The model before it comes back; what is half-written goes."""
        path = skcyto.save(fitted(LogisticRegression(C=1.0), table), tmp_path / "model")
        path.rename(tmp_path / f".model.{_node()}.99999999.0a1b2c3d.former")
        (tmp_path / f".model.{_node()}.99999999.0a1b2c3d.partial").mkdir()
        again = fitted(LogisticRegression(C=3.0), table)
        with pytest.warns(DamagedFileWarning, match="model before it is in its place again"):
            skcyto.load(path) if next_call == "load" else skcyto.save(again, path, overwrite=True)
        assert skcyto.load(path).get_params()["C"] == {"load": 1.0, "save": 3.0}[next_call]
        skcyto.save(fitted(LogisticRegression(C=2.0), table), path, overwrite=True)
        assert [p.name for p in tmp_path.iterdir()] == ["model"]

    def test_a_model_that_is_replaced_while_it_is_read(self, table, tmp_path, monkeypatch):
        path = skcyto.save(fitted(LogisticRegression(C=1.0), table), tmp_path / "model")
        second = fitted(LogisticRegression(C=2.0), table)

        def replace_first(*args):
            monkeypatch.undo()
            skcyto.save(second, path, overwrite=True)
            return check_files(*args)

        monkeypatch.setattr("skcyto.persistence._load.check_files", replace_first)
        assert skcyto.load(path).C == 2.0

    def test_failure_leaves_nothing_behind(self, table, tmp_path):
        function = FunctionTransformer(lambda X: X)
        pipeline = fitted(make_pipeline(function, mlp()), table)
        with pytest.raises(TypeError, match=r"does not trust: .*<lambda>"):
            skcyto.save(pipeline, tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_unfitted_and_foreign_objects(self, tmp_path):
        with pytest.raises(NotFittedError):
            skcyto.save(LogisticRegression(), tmp_path / "model")
        with pytest.raises(TypeError, match="fitted scikit-learn estimator, not a dict"):
            skcyto.save({}, tmp_path / "model")

    def test_training_code_is_left_out_with_a_warning(self, table, tmp_path):
        classifier = fitted(mlp(callbacks=[EpochTimer()], optimizer=torch.optim.RMSprop), table)
        with pytest.warns(ModelSavingWarning, match=r"left out: callbacks=.*optimizer=RMSprop"):
            path = skcyto.save(classifier, tmp_path / "model")
        loaded = skcyto.load(path)
        assert loaded.callbacks is None
        assert loaded.optimizer == "adamw"
        assert_same(classifier, loaded, table[0])


def test_own_scoring_is_left_out_with_a_warning(table, tmp_path):
    own = make_scorer(lambda y_true, y_pred: (y_true == y_pred).mean())
    model = fitted(TunedLogitBiasClassifierCV(LogisticRegression(), scoring=own, cv=2), table)
    with pytest.warns(ModelSavingWarning, match="scoring is a function of your own"):
        path = skcyto.save(model, tmp_path / "model")
    loaded = skcyto.load(path)
    assert loaded.scoring == TunedLogitBiasClassifierCV(LogisticRegression()).scoring
    assert_same(model, loaded, table[0])


class Scale(TransformerMixin, BaseEstimator):
    """A transformer of the user's own."""

    def fit(self, X, y=None):
        self.scale_ = X.std(axis=0)
        return self

    def transform(self, X):
        return X / self.scale_


def test_own_types_are_named_by_who_trusts_them(table, tmp_path, monkeypatch):
    # Where the class is found again by its name, as in an installed package.
    monkeypatch.setitem(sys.modules, "my_package", type(sys)("my_package"))
    sys.modules["my_package"].Scale = Scale
    monkeypatch.setattr(Scale, "__module__", "my_package")
    pipeline = make_pipeline(Scale(), LogisticRegression()).fit(*table)
    with pytest.raises(TypeError, match=r"trusted=\['my_package.Scale'\]"):
        skcyto.save(pipeline, tmp_path / "model")
    path = skcyto.save(pipeline, tmp_path / "model", trusted=["my_package.Scale"])
    with pytest.raises(InvalidModelError, match=r"my_package.Scale. Nothing was run"):
        skcyto.load(path)
    assert_same(pipeline, skcyto.load(path, trusted=["my_package.Scale"]), table[0])
