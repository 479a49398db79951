"""A saved model as the predict command uses it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion
from sklearn.utils import get_tags

from skcyto.command_line._inputs import CommandError
from skcyto.exceptions import (
    DeviceMemoryError,
    InvalidImageError,
    InvalidInputWarning,
    InvalidScanError,
    PretrainedWeightsError,
)
from skcyto.persistence import load
from skcyto.persistence._manifest import read_manifest
from skcyto.persistence._walk import walk
from skcyto.utils._images._inputs import as_image_inputs, explain

# What one bad input makes a model raise; the first are certain to be about the input.
_INPUT_ERRORS = (InvalidImageError, InvalidScanError, OSError)
_ROW_ERRORS = (*_INPUT_ERRORS, ValueError)


class SavedModel:
    """A loaded model, with predictions that survive bad inputs.

    Parameters
    ----------
    path : str
        Folder that :func:`skcyto.save` made.
    device, n_jobs, cache : object
        Given to every part of the model that has such a parameter, unless None.
    trusted : sequence of str
        As for :func:`skcyto.load`.
    ignore_versions : bool
        Whether other versions of packages are no error.

    Attributes
    ----------
    identity : str
        The same if, and only if, the files are the same.
    classes : list or None
        Labels that have probabilities.
    columns : tuple of str or None
        Columns of images and masks, where an input consists of several; images come first, and
        labels, which are no paths, last.
    n_paths : int
        How many of them hold paths.
    works : bool
        Whether it has predicted any input: a failure is an input's fault from then on.
    """

    def __init__(
        self,
        path: str,
        *,
        device: str | None = None,
        n_jobs: int | None = None,
        cache: str | None = None,
        trusted: Sequence[str] = (),
        ignore_versions: bool = False,
    ) -> None:
        try:
            files = read_manifest(Path(path))["files"]
            self._model = load(
                path,
                device=device,
                trusted=trusted,
                on_version_mismatch="warn" if ignore_versions else "raise",
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CommandError(str(error)) from error
        self.works = False
        self.identity = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        parts = [item for item in walk(self._model) if isinstance(item, BaseEstimator)]
        takers = [item for item in parts if _by_path(item)]
        for item in takers:
            settings = {"on_error": "raise", "verbose": 0}
            settings |= {} if n_jobs is None else {"n_jobs": n_jobs}
            settings |= {} if cache is None else {"cache": cache}
            known = item.get_params(deep=False)
            item.set_params(**{k: v for k, v in settings.items() if k in known})
        if not takers:
            raise CommandError(
                f"the model {path} takes a table of features, not images: load it with "
                "skcyto.load and call its predict"
            )
        joints = [item for item in parts if isinstance(item, FeatureUnion | ColumnTransformer)]
        for item in joints:
            item.n_jobs = None  # what an extractor warns of in another process would be lost
        self._wants_frame = any(isinstance(item, ColumnTransformer) for item in joints)
        self.columns, self.n_paths = _input_columns(path, takers)
        has_classes = hasattr(self._model, "predict_proba")
        self.classes = list(np.asarray(self._model.classes_).tolist()) if has_classes else None

    def predict(self, inputs: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """Predict some inputs, each for itself: a bad one does not keep the others from it.

        Parameters
        ----------
        inputs : sequence of tuple of str
            Paths.

        Returns
        -------
        results : list of dict
            For each: `prediction`, `probabilities` and `error`.

        Raises
        ------
        CommandError
            If the model itself is at fault: it has predicted nothing yet, and fails on every one
            of the inputs, each tried for itself, for a reason that none of them is known to give.
        """
        doubts: list[Exception] = []
        results = self._predict_parts(inputs, doubts)
        if not self.works and len(doubts) == len(inputs):
            tried = ", ".join(inputs[0])
            if len(inputs) > 1:
                tried = f"each of the {len(inputs)} inputs that were tried, such as {tried}"
            raise CommandError(f"the model fails on {tried}: {doubts[0]}") from doubts[0]
        return results

    def _predict_parts(
        self, inputs: Sequence[tuple[str, ...]], doubts: list[Exception]
    ) -> list[dict[str, Any]]:
        """Halve the inputs until those that fail are alone; collect errors of unknown cause."""
        gaps: list[str] = []
        try:
            return self._predict_all(inputs, gaps)
        except _ROW_ERRORS as error:
            if len(inputs) == 1:
                # A scan that lacks a label has gaps, of which the classifier says only "NaN".
                gap = "; ".join(gaps) if "contains NaN" in str(error) else ""
                if not (gap or isinstance(error, _INPUT_ERRORS)):
                    doubts.append(error)
                return [_failed(gap or self._explain(inputs[0], error))]
        except (DeviceMemoryError, PretrainedWeightsError) as error:
            raise CommandError(str(error)) from error
        middle = len(inputs) // 2
        return [
            *self._predict_parts(inputs[:middle], doubts),
            *self._predict_parts(inputs[middle:], doubts),
        ]

    def _predict_all(
        self, inputs: Sequence[tuple[str, ...]], gaps: list[str]
    ) -> list[dict[str, Any]]:
        """Predict inputs together; collect what is missing in the first, for the case of failure.

        An input without any structure is not predicted: an imputer would fill its row with what
        is usual, and the classifier tell nothing but that.
        """
        notes: dict[int, list[str]] = {}
        lost: set[int] = set()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InvalidInputWarning)
            try:
                labels, probabilities = _predict(self._model, self._as_input(inputs))
            finally:
                for warning in caught:
                    if isinstance(warning.message, InvalidInputWarning):
                        lost |= warning.message.lost
                        for row, reasons in warning.message.rows.items():
                            notes.setdefault(row, []).extend(reasons)
                gaps += notes.get(0, [])
        for warning in caught:
            if not getattr(warning.message, "rows", None):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        self.works = True
        results = []
        for i, label in enumerate(labels.tolist()):
            # Extractors of several sequences say the same of their common mask.
            note = "; ".join(_one_line(text) for text in dict.fromkeys(notes.get(i, [])))
            if i in lost:
                results.append(_failed(note))
                continue
            results.append(
                {
                    "prediction": label,
                    "probabilities": None if probabilities is None else probabilities[i].tolist(),
                    "error": None,
                    "note": note or None,
                }
            )
        return results

    def _as_input(self, inputs: Sequence[tuple[str, ...]]) -> Any:
        if self.columns is not None:
            return pd.DataFrame(list(inputs), columns=list(self.columns))
        paths = [path for (path,) in inputs]
        if self._wants_frame and hasattr(self._model, "feature_names_in_"):
            return pd.DataFrame({self._model.feature_names_in_[0]: paths})
        return paths

    def _explain(self, paths: tuple[str, ...], error: Exception) -> str:
        if self.columns is None and isinstance(error, InvalidImageError):
            try:
                as_image_inputs(list(paths)).load(0).decode()
            except Exception as reason:  # Each of Pillow's decoders fails in its own way.
                return _one_line(explain(reason))
        if isinstance(error, InvalidScanError) and error.bad:
            return "; ".join(_one_line(text) for reasons in error.bad.values() for text in reasons)
        return _one_line(str(error))


def _failed(reason: str) -> dict[str, Any]:
    return {"prediction": None, "probabilities": None, "error": reason, "note": None}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _input_columns(path: str, takers: list[BaseEstimator]) -> tuple[tuple[str, ...] | None, int]:
    """Name the columns of an input that consists of several files, and count those of paths."""
    scans = [item for item in takers if hasattr(item, "mask_column")]
    images: list[str] = []
    for item in takers:
        if item in scans:
            its = item.image_column
            images += [its] if isinstance(its, str) else list(its)
        elif hasattr(item, "feature_names_in_"):
            images.append(str(item.feature_names_in_[0]))
        elif scans:
            raise CommandError(
                f"the model {path} takes images in several forms at once, and does not know the "
                "columns of all: load it with skcyto.load and call its predict"
            )
    paths = tuple(dict.fromkeys([*images, *(item.mask_column for item in scans)]))
    labels = dict.fromkeys(item.label_column for item in scans if item.label_column is not None)
    columns = (*paths, *labels)
    return (columns if len(columns) > 1 else None), len(paths)


def _by_path(estimator: BaseEstimator) -> bool:
    """Tell whether an estimator takes images or scans, which are named by paths."""
    try:
        tags = get_tags(estimator).input_tags
    except Exception:  # A loaded object may lack what its tags are made of.
        return False
    is_fitted = hasattr(estimator, "n_features_in_")
    return bool(is_fitted and tags.string and not tags.two_d_array)


def _predict(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict labels and probabilities, with one way through the steps of a pipeline."""
    steps = getattr(model, "steps", None)
    if steps:
        for _, step in steps[:-1]:
            if step is not None and step != "passthrough" and not hasattr(step, "fit_resample"):
                X = step.transform(X)
        return _predict(steps[-1][1], X)
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.predict(X)), None
    probabilities = np.asarray(model.predict_proba(X))
    if _by_path(model) and not hasattr(model, "estimator_"):
        # A network on images, whose prediction is its most probable class.
        return np.asarray(model.classes_)[probabilities.argmax(axis=1)], probabilities
    return np.asarray(model.predict(X)), probabilities
