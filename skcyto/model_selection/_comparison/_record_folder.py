"""Records of finished folds on disk, so that an interrupted comparison goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skcyto.model_selection._fingerprints import fingerprint_estimator
from skcyto.model_selection._results._records import FoldRecord, Predictions
from skcyto.model_selection._splits import Split
from skcyto.utils._atomic import clear_parts, write_atomically, write_once
from skcyto.utils._damage import find_damage, make_seal, report_damage, seal_json, unseal_json

# Raised whenever what a record means changes, so that older ones are not taken for it.
_FORMAT = 3
_SEED = "seed.json"
_COPY = "seed.copy.json"


class RecordFolder:
    """A folder with one file for every finished (candidate, fold).

    Files are named by what they depend on: data, labels, training and test rows, metadata, the
    candidate with all its parameters, the seed. Whatever changes, its records are not found and
    are computed anew; the others are found. Files appear whole or not at all, carry a checksum of
    content and name, and hold arrays and numbers only: reading one runs no code.

    Parameters
    ----------
    folder : str or path
        Made if it doesn't exist.
    scorers : dict of str to callable
        Scores that only a fitted estimator can tell. They are kept with what defines them, so
        that another scorer of the same name is not taken for them.
    """

    def __init__(self, folder: str | os.PathLike[str], scorers: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._scorers = {name: fingerprint_estimator(each) for name, each in scorers.items()}
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"checkpoint={str(folder)!r} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_parts(self.folder)

    def seed(self, drawn: int) -> int:
        """Return the seed of the folder's first comparison without one, or keep `drawn` as that.

        Parameters
        ----------
        drawn : int
            Seed to keep where there is none yet.
        """
        found = None
        paths = [self.folder / _SEED, self.folder / _COPY]
        for path in paths:
            if found is None and path.exists():
                found = _read_seed(path)
        if found is None:
            # Of processes that begin at once, all take the seed of the first.
            write_once(paths[0], seal_json({"seed": drawn}))
            found = _read_seed(paths[0])
        for path in paths:
            if not path.exists():
                write_once(path, seal_json({"seed": found}))
        return drawn if found is None else found

    def read(self, key: str) -> FoldRecord | None:
        """Return a record, or None where there is none that holds the scores.

        A damaged file is named in a warning, set aside, and counts as none.
        """
        path = self.folder / f"{key}.npz"
        try:
            reason = find_damage(path, key)
        except FileNotFoundError:
            return None
        if reason is not None:
            report_damage(path, reason, "its fold is computed anew")
            return None
        try:
            facts, predictions = _parse(path)
        except Exception as error:  # A forged record has a checksum, too, and may hold anything.
            report_damage(path, f"it is no record: {error}", "its fold is computed anew")
            return None
        if any(facts["scorers"].get(name) != digest for name, digest in self._scorers.items()):
            return None
        kept = {name: facts["scores"][name] for name in self._scorers}
        return FoldRecord(predictions, kept, facts["fit_time"], facts["predict_time"])

    def write(self, key: str, record: FoldRecord) -> None:
        """Keep a record."""
        predictions = record.predictions
        facts = {
            "kind": predictions.kind,
            "scores": record.scores,
            "scorers": {name: self._scorers[name] for name in record.scores},
            "fit_time": record.fit_time,
            "predict_time": record.predict_time,
        }
        arrays: dict[str, Any] = {"codes": predictions.codes, "facts": np.array(json.dumps(facts))}
        if predictions.response is not None:
            arrays["response"] = predictions.response
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
        write_atomically(self.folder / f"{key}.npz", content + make_seal(content, key))


def _parse(path: Path) -> tuple[dict[str, Any], Predictions]:
    # Opened here: numpy leaves a file open that it cannot make sense of.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        facts = json.loads(str(file["facts"]))
        response = file["response"] if facts["kind"] else None
        predictions = Predictions(file["codes"], response, facts["kind"])
    if predictions.codes.ndim != 1:
        raise ValueError(f"predictions of shape {predictions.codes.shape}")
    if response is not None and not np.all(np.isfinite(response)):
        raise ValueError("scores of classes that are NaN or infinite")
    return facts, predictions


def _read_seed(path: Path) -> int | None:
    try:
        return int(unseal_json(path.read_bytes())["seed"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        report_damage(path, error, "its copy is looked for, else another seed is drawn")
        return None


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
    """
    parts = [_FORMAT, data, estimator, seed, sorted(routes.items())]
    rows = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in split]
    return hashlib.sha256(json.dumps([parts, rows]).encode()).hexdigest()[:40]
