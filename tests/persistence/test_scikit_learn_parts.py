"""Whatever scikit-learn is made of is saved and loaded, and a file cannot misuse it."""

import inspect
import json
import warnings
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
import skops.io
from scipy import sparse
from scipy.interpolate import BSpline
from sklearn import config_context
from sklearn.cluster import FeatureAgglomeration
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, SelectPercentile, f_classif, mutual_info_classif
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.utils import all_estimators

import skcyto
from skcyto.exceptions import InvalidModelError
from skcyto.neural_network import ImbalancedMLPClassifier

# Estimators that cannot be saved, and why.
NOT_SAVED = {"Birch": "its tree refers to itself, and skops does not write it"}
# Not fitted by themselves.
WITHOUT_FIT = {"SparseCoder": "it has no fit"}

RNG = np.random.default_rng(0)
X = np.abs(RNG.normal(size=(60, 4))) + 0.1
Y = (X[:, 0] > X[:, 1]).astype(int)
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(
    kind=pd.Categorical(RNG.choice(["u", "v", "w"], 60)), site=RNG.choice(["s", "t"], 60)
)
GAPS = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
CODED = np.column_stack([RNG.integers(0, 4, 60), X])
TEXTS = ["a bb cc", "bb cc dd", "dd a bb"] * 20


def make(cls):
    """Construct an estimator, with another one where it needs one, and others in pairs."""
    required = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    inner = Ridge() if "Regressor" in cls.__name__ else LogisticRegression()
    given = {
        "estimator": inner,
        "base_estimator": inner,
        "estimators": [("a", inner), ("b", inner)],
        "transformers": [("scale", StandardScaler(), [0, 1])],
        "transformer_list": [("scale", StandardScaler())],
        "param_grid": {"fit_intercept": [True, False]},
        "param_distributions": {"C": [0.1, 1.0]},
        "steps": [("scale", StandardScaler()), ("last", inner)],
        "dictionary": np.eye(4),
    }
    settings = {
        "PatchExtractor": {"patch_size": (2, 2)},
        "SelfTrainingClassifier": {"estimator": inner},
        "GaussianRandomProjection": {"n_components": 2},
        "SparseRandomProjection": {"n_components": 2},
        "HashingVectorizer": {"n_features": 16},
    }
    return cls(**{name: given[name] for name in required}, **settings.get(cls.__name__, {}))


def training_data(name):
    if name in ("LabelBinarizer", "LabelEncoder"):
        return (Y,)
    if name == "MultiLabelBinarizer":
        return ([{1, 2}, {3}],)
    if name in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"):
        return (TEXTS,)
    if name in ("DictVectorizer", "FeatureHasher"):
        return ([{"a": 1.0, "b": 2.0}, {"a": 3.0}],)
    if name == "KernelCenterer":
        return (X @ X.T,)
    if name == "PatchExtractor":
        return (np.arange(72.0).reshape(2, 6, 6),)
    if name == "IsotonicRegression":
        return (X[:, 0], Y)
    if name in ("MultiOutputClassifier", "ClassifierChain"):
        return (X, np.column_stack([Y, 1 - Y]))
    if name.startswith(("MultiTask", "MultiOutput", "RegressorChain", "CCA", "PLS")):
        return (X, X[:, :2] ** 2)
    if name == "GammaRegressor":
        return (X, X[:, 0])
    return (X, Y)


def output(estimator, X):
    method = "predict" if hasattr(estimator, "predict") else "transform"
    found = getattr(estimator, method)(X)
    return found.toarray() if sparse.issparse(found) else np.asarray(found)


def assert_saved(estimator, X, folder):
    loaded = skcyto.load(skcyto.save(estimator, folder / "model"))
    expected, found = output(estimator, X), output(loaded, X)
    if expected.dtype == object:
        assert expected.tolist() == found.tolist()
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    return loaded


SWEEP = {
    name: cls
    for name, cls in all_estimators(type_filter=["classifier", "regressor", "transformer"])
    if name not in WITHOUT_FIT
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEP)
def test_every_estimator_of_scikit_learn(name, tmp_path):
    data = training_data(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence and the like: this is no good data
        estimator = make(SWEEP[name]).fit(*data)
        if name in NOT_SAVED:
            with pytest.raises(TypeError, match="cannot be saved"):
                skcyto.save(estimator, tmp_path / "model")
        elif not hasattr(estimator, "predict") and not hasattr(estimator, "transform"):
            skcyto.load(skcyto.save(estimator, tmp_path / "model"))
        else:
            assert_saved(estimator, data[0], tmp_path)


SCORE = partial(mutual_info_classif, random_state=0)
PARTS = {
    "columns by type": (
        make_pipeline(
            make_column_transformer(
                (StandardScaler(), make_column_selector(dtype_include=np.number)),
                (OneHotEncoder(), make_column_selector(dtype_exclude=np.number)),
            ),
            LogisticRegression(),
        ),
        FRAME,
    ),
    "columns by name": (
        make_column_transformer((StandardScaler(), make_column_selector("a|b"))),
        FRAME,
    ),
    "category columns": (
        make_column_transformer(
            (OneHotEncoder(), make_column_selector(dtype_include=["category", object]))
        ),
        FRAME.drop(columns="site"),
    ),
    "boosting of a frame": (
        HistGradientBoostingClassifier(max_iter=3),
        FRAME[["a", "b", "c", "kind"]],
    ),
    "boosting of codes": (
        HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
        CODED,
    ),
    "boosting of texts": (
        HistGradientBoostingRegressor(
            max_iter=3, min_samples_leaf=2, categorical_features=["site", "kind"]
        ),
        FRAME,
    ),
    "boosting of missing categories": (
        HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2),
        FRAME.assign(kind=FRAME["kind"].where(np.arange(60) % 4 > 0)).drop(columns="site"),
    ),
    "boosting of codes with gaps": (
        HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2, categorical_features=[0]),
        np.where((np.arange(60) % 4 > 0)[:, np.newaxis], CODED, np.nan),
    ),
    "splines": (make_pipeline(SplineTransformer(), LogisticRegression()), X),
    "periodic splines": (SplineTransformer(extrapolation="periodic"), X),
    "imputer": (IterativeImputer(random_state=0), GAPS),
    "score": (SelectKBest(SCORE, k=2), X),
    "scores": (make_pipeline(SelectKBest(SCORE, k=3), SelectPercentile(SCORE)), X),
    "sparse rows": (SVC(), sparse.csr_array(X)),
    "sparse matrix": (SVC(), sparse.csr_matrix(X)),
    "texts": (make_pipeline(TfidfVectorizer(), LogisticRegression()), TEXTS),
    "Tweedie": (TweedieRegressor(power=1.5, link="log"), X),
    "pooled features": (FeatureAgglomeration(pooling_func=np.median), X),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", PARTS)
def test_parts(name, tmp_path):
    estimator, data = PARTS[name]
    assert_saved(estimator.fit(data, Y), data, tmp_path)


def test_categories_that_training_did_not_see(tmp_path):
    columns = ["a", "kind"]
    boosting = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2)
    boosting.fit(FRAME[columns], FRAME["kind"] == "u")
    other = FRAME[columns].assign(kind=pd.Categorical(["z", "u", None, "w"] * 15))
    loaded = skcyto.load(skcyto.save(boosting, tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict_proba(other), boosting.predict_proba(other))
    # The saved estimator is as it was.
    assert boosting._preprocessor is not None


def test_requests_of_metadata(tmp_path):
    groups = np.arange(60) // 4
    with config_context(enable_metadata_routing=True):
        net = ImbalancedMLPClassifier((4,), max_epochs=2, validation_fraction=0.2, random_state=0)
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            net.set_fit_request(groups=True, sample_weight=False),
        ).fit(X, Y, groups=groups)
        loaded = assert_saved(pipeline, X, tmp_path)
        request = loaded[1].get_metadata_routing().fit.requests
        assert request == {"groups": True, "sample_weight": False}
        assert loaded[0]._metadata_request.owner is loaded[0]
        loaded.fit(X, Y, groups=groups)
    assert pipeline[0]._metadata_request.fit.owner is pipeline[0]


def own_score(X, y):
    return f_classif(X, y)


def test_functions_of_others_are_refused(tmp_path):
    for estimator in (
        SelectKBest(partial(own_score), k=2).fit(X, Y),
        FunctionTransformer(partial(np.clip, a_max=1)).fit(X),
        FunctionTransformer(partial(eval)).fit(X),
    ):
        with pytest.raises(TypeError, match="does not trust"):
            skcyto.save(estimator, tmp_path / "model")


def forge(folder, estimator, edit=lambda schema: None):
    """Write a model as a forger would: without what `save` checks."""
    from skcyto.persistence._manifest import write_manifest

    folder.mkdir()
    path = folder / "estimator.skops"
    skops.io.dump(estimator, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(content["schema.json"])
    edit(schema)
    content["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    write_manifest(folder, {})
    return folder


def test_forged_partial_function(tmp_path):
    from skcyto.persistence import SavedPartial

    selector = SelectKBest(f_classif, k=2).fit(X, Y)
    # A function that is trusted as a score, but that no selector has.
    selector.score_func = SavedPartial(partial(skcyto.metrics.average_f1_score))
    with pytest.raises(InvalidModelError, match="none of scikit-learn's"):
        skcyto.load(forge(tmp_path / "score", selector))
    selector.score_func = partial(f_classif)
    with pytest.raises(InvalidModelError, match=r"not trusted: functools\.partial"):
        skcyto.load(forge(tmp_path / "partial", selector))


def test_forged_spline(tmp_path):
    from skcyto.persistence import SavedSpline

    splines = SplineTransformer(n_knots=3).fit(X[:, :1])
    forged = SavedSpline(splines.bsplines_[0])
    forged.degree = 1000
    splines.bsplines_ = [forged]
    with pytest.raises(InvalidModelError, match=r"cannot be built: .*knots"):
        skcyto.load(forge(tmp_path / "model", splines))
    assert isinstance(BSpline(*splines.fit(X).bsplines_[0].tck), BSpline)


def test_forged_sparse_matrix(tmp_path):
    model = LogisticRegression().fit(X, Y).sparsify()
    model.coef_.indices[0] = 10**6
    with pytest.raises(InvalidModelError, match="sparse matrix that is damaged or forged"):
        skcyto.load(forge(tmp_path / "model", model))


def test_forged_categories(tmp_path):
    def saved(**attributes):
        boosting = HistGradientBoostingClassifier(
            max_iter=2, min_samples_leaf=2, categorical_features=[0]
        ).fit(CODED, CODED[:, 0] == 1)
        boosting._saved_categories = [np.arange(4.0)]
        boosting._preprocessor = None
        for name, value in attributes.items():
            setattr(boosting, name, value)
        return boosting

    mapper = saved()._bin_mapper
    mapper.is_categorical_ = mapper.is_categorical_[:1]
    for number, (attributes, message) in enumerate(
        (
            ({"_saved_categories": [np.arange(4.0)] * 2}, "do not fit the columns"),
            ({"is_categorical_": np.array([True])}, "do not fit the columns"),
            ({"_saved_categories": [np.array([2.0, 1.0])]}, "not sorted"),
            ({"_bin_mapper": mapper}, "which features have categories"),
            ({"_bin_mapper": None}, "has no categories"),
        )
    ):
        path = forge(tmp_path / str(number), saved(**attributes))
        with pytest.raises(InvalidModelError, match=message):
            skcyto.load(path)
