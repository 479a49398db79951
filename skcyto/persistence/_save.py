"""Write a fitted pipeline to a folder."""

from __future__ import annotations

import copy
import inspect
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import BSpline
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skcyto.exceptions import ModelSavingWarning
from skcyto.persistence._categories import leave_out_category_encoder
from skcyto.persistence._manifest import CARD, ESTIMATOR, MANIFEST, write_manifest
from skcyto.persistence._neighbors import leave_out_search_tree
from skcyto.persistence._replace import begin_folder, put_in_place, recover_former
from skcyto.persistence._requests import set_request_owner
from skcyto.persistence._stand_ins import SavedPartial, SavedSpline, is_feature_score
from skcyto.persistence._tables import SavedTable
from skcyto.persistence._trusted_types import trusted_types, type_name
from skcyto.persistence._walk import walk
from skcyto.utils._persistence import PersistentEstimator
from skcyto.utils._validation import PATH, check_parameters
from skcyto.utils._warnings import warn


@check_parameters(path=PATH, card=[str, None], trusted=["array-like", tuple], overwrite=["boolean"])
def save(
    pipeline: BaseEstimator,
    path: str | os.PathLike[str],
    *,
    card: str | None = None,
    trusted: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Save a fitted pipeline to a folder that can be loaded without running code from it.

    The folder holds what scikit-learn can describe in the format of `skops
    <https://skops.readthedocs.io>`_, the weights of networks in that of `safetensors
    <https://huggingface.co/docs/safetensors>`_, and a manifest with the versions of the packages
    and the SHA-256 of every file. It holds no pickle, and everything that a prediction needs: also
    the weights of an :class:`~skcyto.feature_extraction.EVA02TokenEmbedder`, wherever they came
    from.

    Parameters
    ----------
    pipeline : estimator
        Fitted: a scikit-learn or imbalanced-learn pipeline or a single estimator, of scikit-learn,
        imbalanced-learn and skcyto. Of a search, save its ``best_estimator_``.
    path : str or path
        Folder to make.
    card : str or None, default=None
        Text of a README.md in it, such as :func:`model_card` gives.
    trusted : sequence of str, default=()
        Full names of further types that the pipeline may hold, such as
        ``"my_package.MyTransformer"``: your own and those of other packages. :func:`load` must be
        given them too.
    overwrite : bool, default=False
        Whether a model that is at `path` already is replaced; nothing else ever is.

    Returns
    -------
    path : pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        If there is something at `path`, and it is no model or `overwrite` is False.
    NotFittedError
        If the pipeline is not fitted.
    TypeError
        If it holds something that cannot be saved, such as a function or a type that is neither
        known nor in `trusted`.

    Warns
    -----
    ModelSavingWarning
        If settings of a training are left out because they are code, such as callbacks.

    See Also
    --------
    load : Read it again.
    model_card : Describe a model for those who use it.

    Notes
    -----
    The folder is written under another name and renamed when it is complete: at `path` there is
    never half a model. Caches (`memory` of a pipeline, `cache` of an extractor) are settings of a
    machine and are not saved.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import skcyto
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = skcyto.save(pipeline, Path(folder) / "model")
    ...     print(sorted(file.name for file in path.iterdir()))
    ...     again = skcyto.load(path)
    ['estimator.skops', 'manifest.json']
    >>> bool((again.predict(X) == pipeline.predict(X)).all())
    True
    """
    path = Path(os.path.abspath(os.path.expanduser(path)))
    recover_former(path)
    _check_target(path, overwrite)
    _check_pipeline(pipeline)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = begin_folder(path)
    try:
        _write_estimator(pipeline, partial, list(trusted))
        if card is not None:
            (partial / CARD).write_text(card, encoding="utf-8")
        write_manifest(partial, _describe(pipeline))
        _flush(partial)
        put_in_place(partial, path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        # Of a full disk, each writer has an error of its own, without the name of the file.
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            raise OSError(f"the model {path} cannot be written: {error}") from error
        raise
    return path


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not (path / MANIFEST).is_file():
        raise FileExistsError(f"{path} exists and is no saved model: choose another path")
    if not overwrite:
        raise FileExistsError(f"there is a model at {path}: set overwrite=True to replace it")


def _check_pipeline(pipeline: Any) -> None:
    if hasattr(pipeline, "best_estimator_") and hasattr(pipeline, "study_"):
        raise TypeError(
            f"a {type(pipeline).__name__} holds a whole search: save its best_estimator_"
        )
    if not isinstance(pipeline, BaseEstimator):
        raise TypeError(
            f"pipeline must be a fitted scikit-learn estimator, not a {type(pipeline).__name__}"
        )
    check_is_fitted(pipeline)


def _write_estimator(pipeline: BaseEstimator, folder: Path, trusted: list[str]) -> None:
    import skops.io

    # Estimators that write themselves in their own way are left out of the copy for a stand-in of
    # the same class with what they say of themselves; data frames for plain arrays, splines and
    # partial functions for what they are made of.
    stand_ins: dict[int, Any] = {}
    states: list[dict[str, Any]] = []
    for item in walk(pipeline):
        if isinstance(item, pd.DataFrame):
            stand_ins[id(item)] = SavedTable(item)
        elif type(item) is BSpline:
            stand_ins[id(item)] = SavedSpline(item)
        elif is_feature_score(item):
            stand_ins[id(item)] = SavedPartial(item)
        elif issubclass(type(item), PersistentEstimator):
            weights = folder / f"weights-{len(states)}.safetensors"
            state = item._save_state(weights)
            if weights.exists():
                state["_saved_weights"] = weights.name
            stand_ins[id(item)] = object.__new__(type(item))
            vars(stand_ins[id(item)]).update(state)
            states.append(state)
    copies = copy.deepcopy(pipeline, dict(stand_ins))
    for stand_in in stand_ins.values():
        for name, value in vars(stand_in).items():
            vars(stand_in)[name] = copy.deepcopy(value, dict(stand_ins))
    for item in list(walk(copies)):
        if isinstance(item, BaseEstimator):
            _leave_out(item)
    try:
        data = skops.io.dumps(copies)
    except Exception as error:  # Whatever an object's own __reduce__ or __getstate__ raises.
        raise TypeError(f"{type(pipeline).__name__} cannot be saved: {error}") from error
    untrusted = set(skops.io.get_untrusted_types(data=data)) - set(trusted_types()) - set(trusted)
    if untrusted:
        names = ", ".join(sorted(untrusted))
        raise TypeError(
            f"{type(pipeline).__name__} holds what skcyto.load does not trust: {names}. Give "
            "scikit-learn's, imbalanced-learn's or skcyto's own in its place, or, if you trust "
            f"its code, name it in both skcyto.save and skcyto.load: "
            f"trusted={sorted(untrusted)!r}"
        )
    (folder / ESTIMATOR).write_bytes(data)


def _leave_out(estimator: BaseEstimator) -> None:
    """Take from a copy what has no part in predictions and cannot or should not be saved."""
    state = vars(estimator)
    if "memory" in state:
        estimator.memory = None
    leave_out_search_tree(estimator)
    leave_out_category_encoder(estimator)
    set_request_owner(estimator, None)
    # The function with which k-means was fitted: a prediction takes none.
    state.pop("_kmeans_single", None)
    if hasattr(estimator, "fit_resample"):
        # A sampler keeps training rows.
        for name in [name for name in state if name.endswith("_")]:
            delattr(estimator, name)
    function = getattr(state.get("scoring"), "_score_func", state.get("scoring"))
    known = inspect.isfunction(function) and type_name(function) in trusted_types()
    if callable(function) and not known:
        warn(
            f"the saved {type(estimator).__name__} predicts the same, but its scoring is a "
            f"function of your own and is left out: {state['scoring']!r}",
            ModelSavingWarning,
        )
        default = inspect.signature(type(estimator)).parameters["scoring"].default
        estimator.scoring = default


def _describe(pipeline: BaseEstimator) -> dict[str, Any]:
    """Tell what a reader of the manifest wants to know; nothing is loaded from this."""
    steps = getattr(pipeline, "steps", None) or [("estimator", pipeline)]
    described: dict[str, Any] = {
        "estimator": [step if isinstance(step, str) else type(step).__name__ for _, step in steps]
    }
    classes = getattr(pipeline, "classes_", None)
    if isinstance(classes, np.ndarray):
        described["classes"] = classes.tolist()
    return described


def _flush(folder: Path) -> None:
    """Have the disk hold every file before the folder gets its name."""
    for file in folder.iterdir():
        with open(file, "r+b") as opened:
            os.fsync(opened.fileno())
