"""Every public name that takes arguments, with arguments that work."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto import (
    datasets,
    feature_extraction,
    feature_selection,
    inspection,
    losses,
    metrics,
    model_selection,
    neural_network,
)
from tests.robustness.fuzzing import Call

RNG = np.random.default_rng(0)
N = 24
Y = np.tile(["benign", "malignant", "benign"], N // 3)
X = RNG.normal(size=(N, 4)) + (Y == "malignant")[:, None]
GROUPS = np.arange(N) // 2
IMAGES = RNG.integers(0, 255, (6, 28, 28, 3), dtype=np.uint8)
IMAGE_LABELS = np.tile(["a", "b"], 3)
SCORES = RNG.random(N)
VIT = {"model_name": "eva02_tiny_patch14_224", "weights": None, "image_size": 28, "random_state": 0}
# What a long computation is asked for is done, however long it takes: no bad input.
MANY_WORKERS = "joblib starts as many workers as it is asked for"
MUCH_WORK = "a large number is much work and no fault"
_COUNTS = (
    "max_epochs", "n_iter_no_change", "n_resamples", "n_trials", "n_candidates",
    "n_splits", "n_repeats", "n_samples", "top", "max_features", "image_size", "head_hidden_size",
    "views",
)  # fmt: skip
LEFT_OUT = {
    ("n_jobs", "huge"): MANY_WORKERS,
    **dict.fromkeys(((name, "huge") for name in _COUNTS), MUCH_WORK),
    ("cv", "generator"): "scikit-learn takes any iterable of folds, and says what is wrong",
    ("cv", "dict"): "scikit-learn takes any iterable of folds, and says what is wrong",
    ("weight_decay", "huge"): "training diverges, and the error says so",
    ("net_params", "dict"): "skorch names the unknown argument",
    ("refit", "empty text"): "false, as for scikit-learn's searches",
    ("prefit", "True"): "the estimator is not fitted, and the error says so",
}


def parameters(cls: type, **settings: Any) -> dict[str, Any]:
    """Give every constructor parameter of a class with its default, or a setting that is fast."""
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        default = None if parameter.default is parameter.empty else parameter.default
        found[name] = settings.get(name, default)
    return found


def _left_out(arguments: dict[str, Any], **more: tuple[str, ...]) -> dict[Any, str]:
    out: dict[Any, str] = {key: reason for key, reason in LEFT_OUT.items() if key[0] in arguments}
    for name, values in more.items():
        out |= dict.fromkeys(((name, value) for value in values), "works, or is much work")
    return out


def _classifier(cls: type, **settings: Any) -> Call:
    arguments = {"X": X, "y": Y, **parameters(cls, **settings)}

    def run(X: Any, y: Any, **params: Any) -> int | None:
        fitted = cls(**params).fit(X, y)
        return len(fitted.predict(X))

    return Call(cls.__name__, run, arguments, {"X": "matrix", "y": "vector"}, _left_out(arguments))


def _keywords(cls: type, **settings: Any) -> Call:
    """Vary what `fit` takes beside X and y."""
    estimator = cls(**settings)

    def run(X: Any, y: Any, **params: Any) -> int | None:
        return len(clone(estimator).fit(X, y, **params).predict(X))

    return Call(
        f"{cls.__name__}.fit",
        run,
        {"sample_weight": np.ones(N), "groups": GROUPS, "X": X, "y": Y},
        {"sample_weight": "vector", "groups": "vector", "X": "matrix", "y": "vector"},
        # Any labels serve as groups, and any numbers as weights.
        _left_out({}, X=("generator",), y=("generator",)),
    )


def _selector(cls: type, **settings: Any) -> Call:
    arguments = {"X": X, "y": Y, **parameters(cls, **settings)}

    def run(X: Any, y: Any, **params: Any) -> int | None:
        return len(cls(**params).fit(X, y).transform(X))

    return Call(cls.__name__, run, arguments, {"X": "matrix", "y": "vector"}, _left_out(arguments))


def _function(function: Any, kinds: dict[str, str], **arguments: Any) -> Call:
    def run(**arguments: Any) -> None:
        function(**arguments)

    return Call(function.__name__, run, arguments, kinds, _left_out(arguments))


@cache
def comparison() -> Any:
    """Give a comparison of two models."""
    models = {"a": LogisticRegression(), "b": LogisticRegression(C=0.01)}
    return model_selection.compare_models(models, X, Y, cv=3, random_state=0)


@cache
def explanation() -> Any:
    """Give an explanation of a model."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    return inspection.explain(pipeline, X[:6], background=8, n_repeats=2, random_state=0)


def _methods(owner: Any, name: str, methods: dict[str, dict[str, Any]]) -> list[Call]:
    calls = []
    for method, arguments in methods.items():

        def run(_method: str = method, **arguments: Any) -> None:
            getattr(owner(), _method)(**arguments)

        calls.append(Call(f"{name}.{method}", run, arguments, {}, _left_out(arguments)))
    return calls


def networks() -> list[Call]:
    """Give the classifiers and the searches."""
    mlp = {"hidden_layer_sizes": (4,), "max_epochs": 2, "batch_size": 8, "random_state": 0}
    logistic = LogisticRegression()
    return [
        _classifier(neural_network.ImbalancedMLPClassifier, **mlp),
        _keywords(neural_network.ImbalancedMLPClassifier, **mlp),
        _classifier(
            model_selection.TunedLogitBiasClassifierCV,
            estimator=logistic, cv=2, n_candidates=5, random_state=0,
        ),
        _classifier(
            model_selection.OptunaSearchCV,
            estimator=logistic, param_distributions={"C": [0.1, 1.0]}, n_trials=2, cv=2,
            random_state=0,
        ),
        _selector(feature_selection.CorrelationTTestFilter, alpha=1.0, random_state=0),
        _selector(
            feature_selection.ImportanceThresholdSelector, estimator=logistic, threshold="mean"
        ),
    ]  # fmt: skip


def transformers() -> list[Call]:
    """Give what takes images."""

    def embed(X: Any, **params: Any) -> int:
        return len(feature_extraction.EVA02TokenEmbedder(**params).fit(X).transform(X))

    def fine_tune(X: Any, y: Any, **params: Any) -> int:
        return len(neural_network.EVA02Classifier(**params).fit(X, y).predict(X))

    embedder = {"X": IMAGES, **parameters(feature_extraction.EVA02TokenEmbedder, **VIT)}
    settings = {"max_epochs": 1, "batch_size": 3, "validation_fraction": None}
    classifier = {
        "X": IMAGES,
        "y": IMAGE_LABELS,
        **parameters(neural_network.EVA02Classifier, **VIT, **settings),
    }
    return [
        Call("EVA02TokenEmbedder", embed, embedder, {"X": "images"}, _left_out(embedder)),
        Call(
            "EVA02Classifier", fine_tune, classifier, {"X": "images", "y": "vector"},
            _left_out(classifier, compile=("True",)),
        ),
    ]  # fmt: skip


def scans(folder: Path) -> list[Call]:
    """Give what takes scans."""
    from skcyto.feature_extraction import RadiomicsExtractor

    made = datasets.make_cell_images(4, image_size=40, random_state=0)
    arguments = {
        "X": [(image[..., 0], mask) for image, mask in zip(made.images, made.masks, strict=True)],
        **parameters(
            RadiomicsExtractor,
            mask_labels=[1],
            settings={"imageType": {"Original": {}}, "featureClass": {"firstorder": ["Mean"]}},
        ),
    }

    def run(X: Any, **params: Any) -> int:
        return len(RadiomicsExtractor(**params).fit(X).transform(X))

    split = feature_extraction.split_lesions
    shifts = {"shift": 1.0, "rotation": 5.0, "resize": 0.5, "contour": 0.5, "smoothness": 5.0}
    pairs = {"X": "pairs", "path": "path"}

    def suggest(X: Any, **params: Any) -> None:
        feature_extraction.suggest_bin_width(X, RadiomicsExtractor(**params))

    def select(X: Any, repeats: Any, **params: Any) -> None:
        feature_selection.ReproducibilityFilter(**params).fit(X, repeats=repeats)

    return [
        Call("RadiomicsExtractor", run, arguments, {"X": "pairs"}, _left_out(arguments)),
        _function(
            split, pairs, X=arguments["X"], path=folder / "lesions",
            mask_labels=[1], min_volume=0.0, image_column="image", mask_column="mask",
        ),
        _function(
            feature_extraction.perturb_masks, pairs, X=arguments["X"], path=folder / "perturbed",
            n_repeats=1, random_state=0, **shifts,
        ),
        Call("suggest_bin_width", suggest, arguments, {"X": "pairs"}, _left_out(arguments)),
        Call(
            "ReproducibilityFilter", select,
            {"X": X, "repeats": X + 0.1, "icc": "ICC(2,1)", "threshold": 0.75},
            {"X": "matrix", "repeats": "matrix"}, {},
        ),
    ]  # fmt: skip


def statistics() -> list[Call]:
    """Give the tests, scores and losses."""
    differences = RNG.normal(size=10)
    y = (Y == "malignant").astype(int)
    vector = "vector"
    scores = {"y_true": y, "y_score": SCORES, "labels": None, "sample_weight": None}
    predictions = {"y_true": Y, "y_pred": Y, "labels": None, "sample_weight": None}
    kinds = {
        "y_true": vector, "y_pred": vector, "y_score": vector, "y_prob": vector,
        "labels": vector, "sample_weight": vector, "differences": vector, "scores_a": vector,
        "scores_b": vector, "groups": vector, "correct_a": vector, "correct_b": vector,
        "scores": "matrix", "class_counts": vector,
    }  # fmt: skip
    calls = [
        _function(metrics.average_f1_score, kinds, **predictions),
        _function(metrics.recall_per_class, kinds, **predictions),
        _function(metrics.macro_roc_auc_score, kinds, **scores),
        _function(metrics.macro_average_precision_score, kinds, **scores),
        _function(
            metrics.expected_calibration_error, kinds,
            y_true=y, y_prob=SCORES, n_bins=5, strategy="uniform", labels=None,
        ),
        _function(metrics.get_scorer, kinds, scoring="f1_macro"),
        _function(metrics.get_scorers, kinds, names=["f1_macro"]),
        _function(
            model_selection.bayesian_correlated_ttest, kinds,
            differences=differences, test_train_ratio=0.25, rope=0.01,
        ),
        _function(
            model_selection.corrected_resampled_ttest, kinds,
            differences=differences, test_train_ratio=0.25,
        ),
        _function(
            model_selection.delong_test, kinds,
            y_true=y, scores_a=SCORES, scores_b=SCORES[::-1], groups=GROUPS,
        ),
        _function(
            model_selection.mcnemar_test, kinds, correct_a=SCORES > 0.3, correct_b=SCORES > 0.5
        ),
        _function(
            model_selection.friedman_nemenyi_test, kinds, scores=RNG.random((6, 3)), alpha=0.05
        ),
        _function(
            model_selection.bootstrap_by_group, kinds,
            statistic=lambda rows: float(SCORES[rows].mean()), groups=GROUPS, n_resamples=20,
            random_state=0,
        ),
        _function(
            losses.compute_class_weight, kinds,
            class_weight="balanced", class_counts=[10, 5], beta=0.9,
        ),
        _function(losses.get_loss, kinds, loss="ce"),
    ]  # fmt: skip
    for name in losses.available():
        made = losses.get_loss(name)
        cls = type(made)

        def run(_cls: type = cls, **params: Any) -> None:
            _cls(**params).build([10, 5], max_epochs=5)

        params = made.get_params()
        calls.append(Call(cls.__name__, run, params, {}, _left_out(params)))

        def build(_made: Any = made, **arguments: Any) -> None:
            _made.build(**arguments)

        arguments = {"class_counts": [10, 5], "class_weight": None, "max_epochs": 5}
        calls.append(Call(f"{cls.__name__}.build", build, arguments, kinds, {}))
    for sampler in ("BalancedSampler", "StratifiedBatchSampler", "GroupedBatchSampler"):
        cls = getattr(neural_network, sampler)

        def draw(_cls: type = cls, **arguments: Any) -> None:
            list(_cls(**arguments))

        first = next(iter(inspect.signature(cls).parameters))
        arguments = {first: y, "batch_size": 8, "random_state": 0}
        calls.append(Call(sampler, draw, arguments, {first: vector}, {}))
    return calls


def comparisons() -> list[Call]:
    """Give compare_models, its results and explanations."""
    models = {"a": LogisticRegression(), "b": LogisticRegression(C=0.01)}

    def compare(X: Any, y: Any, **arguments: Any) -> None:
        model_selection.compare_models(X=X, y=y, **arguments)

    arguments = {
        "estimators": models, "X": X, "y": Y, "groups": GROUPS, "cv": 3, "scoring": None,
        "n_jobs": None, "engine": "separate", "memory": None, "params": None,
        "random_state": 0, "verbose": 0,
    }  # fmt: skip
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    explain = {
        "pipeline": fitted, "X": X[:3], "background": 8, "background_method": "stratified",
        "n_samples": "auto", "l1_reg": 0, "level": "features", "method": "kernel",
        "response_method": "auto", "n_repeats": 1, "class_names": None, "random_state": 0,
        "n_jobs": None,
    }  # fmt: skip
    splitter = model_selection.RepeatedStratifiedGroupKFold

    def split(X: Any, y: Any, groups: Any, **params: Any) -> None:
        list(splitter(**params).split(X, y, groups))

    folds = {"X": X, "y": Y, "groups": GROUPS, "n_splits": 3, "n_repeats": 1, "random_state": 0}
    return [
        Call(
            "compare_models", compare, arguments,
            {"X": "matrix", "y": "vector", "groups": "vector"}, _left_out(arguments),
        ),
        Call(
            "RepeatedStratifiedGroupKFold", split, folds,
            {"X": "matrix", "y": "vector", "groups": "vector"}, _left_out(folds),
        ),
        Call("explain", lambda **a: len(inspection.explain(**a).values), explain,
             {"X": "matrix"}, _left_out(explain)),
        *_methods(comparison, "ModelComparison", {
            "table": {"metrics": None},
            "fold_scores": {"model": "a", "metric": None},
            "out_of_fold": {"model": "a"},
            "to_latex": {},
            "plot_roc": {"label": "malignant", "models": None},
            "plot_confusion_matrices": {"models": None},
            "plot_scores": {"metric": None, "reference": None},
        }),
        *_methods(explanation, "Explanation", {
            "global_importance": {"label": None, "n_resamples": 10},
            "group_importance": {"by": lambda name: name[0], "label": None},
            "rank_agreement": {"label": None, "top": 2},
        }),
        _function(inspection.parse_radiomics_names, {}, names=["original_shape_Sphericity"]),
        _function(
            model_selection.suggest_space, {}, estimator=feature_selection.CorrelationTTestFilter()
        ),
    ]  # fmt: skip


def files(folder: Path) -> list[Call]:
    """Give what reads and writes files."""
    path = {"root": "path", "path": "path", "directory": "path", "index": "path"}
    fitted = LogisticRegression().fit(X, Y)
    model = skcyto.save(fitted, folder / "model")
    cells = datasets.write_image_folder(folder / "cells", list(IMAGES), IMAGE_LABELS).parent
    masked = datasets.write_image_mask_folder(
        folder / "masked", list(IMAGES[..., 0]), list(IMAGES[..., 0] // 200)
    ).parent
    datasets.write_ps3c_folder(
        folder / "ps3c", list(IMAGES), ["healthy", "unhealthy", "rubbish"] * 2
    )
    datasets.make_orbit_mri(
        2, size=(40, 40, 8), spacing=(1.5, 1.5, 6.0), path=folder / "ted", random_state=0
    )
    save = {"pipeline": fitted, "path": str(folder / "again"), "trusted": (), "overwrite": True}
    load = {"path": model, "device": None, "trusted": (), "on_version_mismatch": "raise"}
    images = {
        "root": cells, "index": None, "group_column": None, "group_pattern": None,
        "extensions": (".png",), "on_error": "raise",
    }  # fmt: skip
    written = {"root": folder / "written", "images": list(IMAGES), "target": IMAGE_LABELS}
    kinds = {**path, "images": "images", "target": "vector", "groups": "vector"}

    def write(root: Any, **arguments: Any) -> None:
        import shutil

        try:
            datasets.write_image_folder(root, **arguments)
        finally:
            shutil.rmtree(folder / "written", ignore_errors=True)

    cell_images = {"n_samples": 3, "weights": None, "image_size": 40, "random_state": 0}
    return [
        _function(skcyto.save, path, **save),
        _function(skcyto.load, path, **load),
        _function(datasets.load_image_folder, path, **images),
        _function(datasets.load_image_mask_folder, path, root=masked, image="images/{case}.png",
                  mask="masks/{case}.png", on_error="raise"),
        _function(datasets.load_ps3c, path, root=folder / "ps3c", split="train", on_error="raise"),
        _function(datasets.load_ted, path, root=folder / "ted", on_error="raise"),
        Call("write_image_folder", write, written, kinds, {}),
        _function(datasets.make_cell_images, {}, **cell_images),
        _function(
            datasets.make_orbit_mri, {"directory": "path"},
            n_samples=1, weights=None, size=(40, 40, 8), spacing=(1.5, 1.5, 6.0), random_state=0,
        ),
        _function(feature_extraction.EmbeddingCache, path, path=folder / "cache"),
    ]  # fmt: skip
