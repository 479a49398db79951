"""Records of finished folds on disk, so that an interrupted comparison goes on where it was."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skcyto.model_selection._comparison_records import FoldRecord, Predictions
from skcyto.model_selection._splits import Split

# Raised whenever what a record means changes, so that older ones are not taken for it.
_FORMAT = 1


class Checkpoint:
    """A folder with one file for every finished (candidate, fold).

    Files are named by what they depend on: data, labels, training and test rows, metadata, the
    candidate with all its parameters, the seed. Whatever changes, its records are not found and
    are computed anew; the others are found. Files appear whole or not at all, and hold arrays and
    numbers only: reading one runs no code.

    Parameters
    ----------
    folder : str or path
        Made if it doesn't exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"checkpoint={str(folder)!r} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)

    def seed(self, drawn: int) -> int:
        """Return the seed of the folder's first comparison without one, or keep `drawn` as that.

        Parameters
        ----------
        drawn : int
            Seed to keep where there is none yet.

        Returns
        -------
        seed : int
        """
        path = self.folder / "seed.json"
        if path.exists():
            return int(json.loads(path.read_text(encoding="utf-8"))["seed"])
        self._write(path, json.dumps({"seed": drawn}).encode())
        return drawn

    def read(self, key: str, scores: set[str]) -> FoldRecord | None:
        """Return a record, or None where there is none that holds these scores.

        Parameters
        ----------
        key : str
            What the record depends on.
        scores : set of str
            Scores that only a fitted estimator could tell.

        Returns
        -------
        record : FoldRecord or None
        """
        path = self.folder / f"{key}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            response = file["response"] if facts["kind"] else None
            predictions = Predictions(file["codes"], response, facts["kind"])
        if not scores <= set(facts["scores"]):
            return None
        kept = {name: facts["scores"][name] for name in scores}
        return FoldRecord(predictions, kept, facts["fit_time"], facts["predict_time"])

    def write(self, key: str, record: FoldRecord) -> None:
        """Keep a record.

        Parameters
        ----------
        key : str
            What it depends on.
        record : FoldRecord
            What is kept.
        """
        predictions = record.predictions
        facts = {
            "kind": predictions.kind,
            "scores": record.scores,
            "fit_time": record.fit_time,
            "predict_time": record.predict_time,
        }
        arrays: dict[str, Any] = {"codes": predictions.codes, "facts": np.array(json.dumps(facts))}
        if predictions.response is not None:
            arrays["response"] = predictions.response
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self._write(self.folder / f"{key}.npz", buffer.getvalue())

    def _write(self, path: Path, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def record_key(
    data: str, estimator: str, split: Split, seed: int, routes: Mapping[str, str]
) -> str:
    """Return the name of a record.

    Parameters
    ----------
    data, estimator : str
        Fingerprints.
    split : (ndarray, ndarray)
        Training and test rows.
    seed : int
        Seed of the fold.
    routes : dict
        Metadata that the candidate's ``fit`` gets.

    Returns
    -------
    key : str
    """
    parts = [_FORMAT, data, estimator, seed, sorted(routes.items())]
    rows = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in split]
    return hashlib.sha256(json.dumps([parts, rows]).encode()).hexdigest()[:40]


def fingerprint_data(X: Any, y: NDArray[Any], metadata: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest of the data; of files, size and time of the last change stand for content.

    Parameters
    ----------
    X : array-like, list or DataFrame
        Cases.
    y : ndarray
        Labels.
    metadata : dict of str to ndarray
        Groups and weights.

    Returns
    -------
    digest : str
    """
    parts: list[Any] = [joblib.hash(X), joblib.hash(np.asarray(y)), joblib.hash(dict(metadata))]
    if isinstance(X, pd.DataFrame):
        columns = [X[name] for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])]
    elif isinstance(X, np.ndarray) and np.issubdtype(X.dtype, np.number):
        columns = []
    else:
        columns = [X]
    for column in columns:
        for item in column:
            for path in item if isinstance(item, (tuple, list)) else (item,):
                if isinstance(path, (str, os.PathLike)) and os.path.isfile(path):
                    facts = os.stat(path)
                    parts.append((facts.st_size, facts.st_mtime_ns))
    return joblib.hash(parts)


def fingerprint_estimator(estimator: Any) -> str:
    """Return a digest of an estimator: its classes, their versions or source, all parameters.

    Parameters
    ----------
    estimator : estimator
        Unfitted.

    Returns
    -------
    digest : str
    """
    return hashlib.sha256(json.dumps(_describe(estimator)).encode()).hexdigest()


def _describe(value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        # Where a cache lies makes no difference to what is computed.
        params.pop("memory", None)
        return [_code_of(type(value)), {key: _describe(params[key]) for key in sorted(params)}]
    if isinstance(value, partial):
        return ["partial", _describe(value.func), _describe(value.args), _describe(value.keywords)]
    if inspect.isfunction(value):
        closure = [cell.cell_contents for cell in value.__closure__ or ()]
        return [*_code_of(value), _describe(value.__defaults__), _describe(closure)]
    if isinstance(value, type) or inspect.isroutine(value):
        return _code_of(value)
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [_describe(item) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[_describe(key), _describe(value[key])] for key in value]]
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return joblib.hash(value)


def _code_of(item: Any) -> list[str]:
    """Name a class or function, with the version of its package or else its source."""
    module = getattr(item, "__module__", None) or ""
    name = f"{module}.{getattr(item, '__qualname__', repr(item))}"
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", None)
    if version is not None:
        return [name, str(version)]
    try:
        return [name, inspect.getsource(item)]
    except (OSError, TypeError):
        # Typed at a prompt: no source, but a function has its byte code.
        code = getattr(item, "__code__", None)
        return [name, "" if code is None else code.co_code.hex()]
