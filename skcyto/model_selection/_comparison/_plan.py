"""Run what a comparison needs and a checkpoint lacks: the folds, and the fits for other places."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.parallel import delayed

from skcyto.model_selection._comparison._candidates import seed_estimator
from skcyto.model_selection._comparison._cases import Cases, ExternalSet
from skcyto.model_selection._comparison._fit import FoldPart, Measuring
from skcyto.model_selection._comparison._folds import run_folds
from skcyto.model_selection._comparison._record_folder import record_key
from skcyto.model_selection._fingerprints import fingerprint_data, fingerprint_estimator
from skcyto.model_selection._results._records import FoldFailure, Outcome
from skcyto.model_selection._splits import Split
from skcyto.utils._parallel import streaming_parallel
from skcyto.utils._progress import progress_bar


@dataclass(frozen=True)
class Plan:
    """Candidates on cases.

    Parameters
    ----------
    candidates : dict of str to estimator
        Unfitted.
    routes : dict of str to dict
        Keywords of the ``fit`` of every candidate, and the metadata they stand for.
    cases : Cases
        All cases.
    measuring : Measuring
        What is done with the fitted candidates.
    seed : int
        Of folds and candidates.
    """

    candidates: Mapping[str, BaseEstimator]
    routes: Mapping[str, Mapping[str, str]]
    cases: Cases
    measuring: Measuring
    seed: int

    def cross_validate(
        self, splits: Sequence[Split], *, n_jobs: int | None, engine: str, verbose: int
    ) -> dict[str, list[Outcome]]:
        """Run all candidates on all folds.

        Parameters
        ----------
        splits : list of (ndarray, ndarray)
            The folds.
        n_jobs : int or None
            Fits at once.
        engine : {"separate", "stacked"}
            Whether networks train by themselves.
        verbose : int
            Shows progress above 0.

        Returns
        -------
        outcomes : dict of str to list
            By candidate, fold by fold.
        """
        seeds = np.random.SeedSequence(self.seed).generate_state(len(splits)).tolist()
        found: dict[tuple[str, int], Outcome] = {}
        parts: dict[tuple[str, int], FoldPart] = {}
        # Fold by fold, so that an interrupted comparison has whole folds of all candidates.
        for fold, (split, seed) in enumerate(zip(splits, seeds, strict=True)):
            for name, estimator in self.candidates.items():
                key = self._key(name, self._data, split, seed)
                record = self._read(key)
                if record is None:
                    params = self._fit_params(name)
                    parts[name, fold] = FoldPart(estimator, split, fold, seed, params, key)
                else:
                    found[name, fold] = record
        places = list(parts)
        outcomes = run_folds(
            list(parts.values()), self.cases, self.measuring, n_jobs=n_jobs, engine=engine
        )
        with progress_bar(total=len(parts), desc="comparing", unit="fit", verbose=verbose) as bar:
            for number, outcome in outcomes:
                found[places[number]] = outcome
                bar.update()
        return {
            name: [found[name, fold] for fold in range(len(splits))] for name in self.candidates
        }

    def validate(
        self, sets: Sequence[ExternalSet], *, n_jobs: int | None, verbose: int
    ) -> dict[str, dict[str, Outcome]]:
        """Fit every candidate once on all cases, and measure it on every external set.

        Returns
        -------
        outcomes : dict of str to dict
            By name of the set and of the candidate.
        """
        found: dict[tuple[str, str], Outcome] = {}
        left: dict[str, list[tuple[ExternalSet, str]]] = {}
        for each in sets:
            data = f"{self._data} {fingerprint_data(each.X, each.y, {})}" if self._data else ""
            for name in self.candidates:
                key = self._key(name, data, each.split(len(self.cases.y)), self.seed)
                record = self._read(key)
                if record is None:
                    left.setdefault(name, []).append((each, key))
                else:
                    found[name, each.name] = record
        calls = (
            delayed(_fit_once)(
                self.candidates[name],
                self._fit_params(name),
                self.seed,
                self.cases.X,
                self.cases.y,
                self.measuring,
                sets_left,
            )
            for name, sets_left in left.items()
        )
        fits = streaming_parallel(n_jobs)(calls)
        with progress_bar(
            total=len(left), desc="external validation", unit="fit", verbose=verbose
        ) as bar:
            for (name, sets_left), outcomes in zip(left.items(), fits, strict=True):
                for (each, _), outcome in zip(sets_left, outcomes, strict=True):
                    found[name, each.name] = outcome
                bar.update()
        return {
            each.name: {name: found[name, each.name] for name in self.candidates} for each in sets
        }

    def _fit_params(self, name: str) -> dict[str, NDArray[Any]]:
        return {keyword: self.cases.metadata[key] for keyword, key in self.routes[name].items()}

    def _read(self, key: str) -> Outcome | None:
        checkpoint = self.measuring.checkpoint
        return None if checkpoint is None else checkpoint.read(key)

    def _key(self, name: str, data: str, split: Split, seed: int) -> str:
        """Return the name of a record; empty where nothing is kept."""
        if self.measuring.checkpoint is None:
            return ""
        return record_key(data, self._digests[name], split, seed, self.routes[name])

    @cached_property
    def _data(self) -> str:
        """Fingerprint of the cases; empty where nothing is kept."""
        if self.measuring.checkpoint is None:
            return ""
        return fingerprint_data(self.cases.X, self.cases.y, self.cases.metadata)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {name: fingerprint_estimator(item) for name, item in self.candidates.items()}


def _fit_once(
    estimator: BaseEstimator,
    fit_params: Mapping[str, NDArray[Any]],
    seed: int,
    X: Any,
    y: NDArray[Any],
    measuring: Measuring,
    sets: Sequence[tuple[ExternalSet, str]],
) -> list[Outcome]:
    """Fit a candidate on all cases and measure it on sets, each with the key of its record."""
    try:
        model: Any = seed_estimator(clone(estimator), seed)
        start = time.perf_counter()
        model.fit(X, y, **fit_params)
        fitted = model, time.perf_counter() - start
    except Exception as error:  # one failing candidate must not lose the others' hours
        failure = FoldFailure(0, f"{type(error).__name__}: {error}", traceback.format_exc())
        return [failure] * len(sets)
    return [measuring.measure(lambda: fitted, each.X, each.y, 0, key) for each, key in sets]
