"""Many cases: the cache, the processes, the progress bar."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from sklearn.utils.parallel import delayed

from skcyto.exceptions import DamagedFileWarning
from skcyto.feature_extraction._radiomics._cache import (
    cache_file,
    case_digest,
    decode_into,
    encode,
    entry_key,
    settings_digest,
)
from skcyto.feature_extraction._radiomics._cases import Case
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._worker import CaseResult, Task, labels_of, run_case
from skcyto.utils._content_store import ContentStore
from skcyto.utils._parallel import WatchedParallel
from skcyto.utils._progress import progress_bar
from skcyto.utils._warnings import warn


def scan_labels(
    cases: list[Case], label_channel: int | None, report: Report, *, verbose: int
) -> list[int]:
    """List the labels of all masks, sorted."""
    found: set[int] = set()
    with progress_bar(cases, desc="Labels", unit="mask", verbose=verbose) as bar:
        for case in bar:
            labels, problem = labels_of(case, label_channel)
            found.update(labels)
            if problem is not None:
                report.add_problem(case, None, None, problem)
    return sorted(found)


def run_batch(
    cases: list[Case],
    structures: dict[str, int],
    task: Task,
    report: Report,
    *,
    n_jobs: int | None,
    cache: str | os.PathLike[str] | None,
    verbose: int,
) -> NDArray[np.float64]:
    """Extract all labels of all cases.

    Parameters
    ----------
    cases : list of Case
    structures : dict of str to int
    task : Task
    report : Report
        Collects what is wrong.
    n_jobs : int or None
    cache : str, path-like or None
    verbose : int

    Returns
    -------
    values : ndarray of shape (n_cases, n_structures * n_features)
    """
    labels = list(structures.values())
    rows = np.full((len(cases), len(labels), len(task.schema.features)), np.nan)
    with (
        closing(_Results(cases, labels, task, cache)) as store,
        progress_bar(total=len(cases), desc="Radiomics", unit="case", verbose=verbose) as bar,
    ):
        results = store.known()
        bar.update(len(cases) - len(store.wanted))
        for row, result in _compute(cases, store, task, report, n_jobs):
            store.keep(row, result)
            results.setdefault(row, CaseResult()).update(result)
            bar.update(1)
    for row in sorted(results):
        _enter(rows[row], cases[row], results[row], structures, report)
    report.lost.update(np.flatnonzero(np.isnan(rows).all(axis=(1, 2))).tolist())
    return rows.reshape(len(cases), -1)


def _enter(
    row: NDArray[np.float64],
    case: Case,
    result: CaseResult,
    structures: dict[str, int],
    report: Report,
) -> None:
    names = {label: structure for structure, label in structures.items()}
    position = {label: index for index, label in enumerate(structures.values())}
    bad = {label for label, _ in result.problems}
    for label, reason in result.problems:
        report.add_problem(case, names.get(label) if label else None, label, reason)
    for label, reason in result.missing.items():
        report.add_missing(case, names[label], label, reason)
    if None in bad:
        return  # nothing of a bad case is to be trusted, the cache's labels included
    for label, values in result.values.items():
        row[position[label]] = values
        for note in result.notes.get(label, []):
            report.add_note(case, names[label], label, note)


def _compute(
    cases: list[Case], store: _Results, task: Task, report: Report, n_jobs: int | None
) -> Iterator[tuple[int, CaseResult]]:
    """Run what the cache lacks; once an error is sure, only look for further ones."""
    failed = False

    def jobs() -> Iterator[Any]:
        for row, wanted in store.wanted.items():
            # Without a cache, whatever is computed after the first error would be lost.
            check_only = failed and not store.keeps
            yield delayed(_run_row)(row, cases[row], wanted, task, check_only)

    # A case waits in memory only where the caller passed voxels instead of paths.
    parallel = WatchedParallel(
        n_jobs=n_jobs,
        prefer="processes",
        pre_dispatch="1.5*n_jobs",
        batch_size=1,
        return_as="generator_unordered",
    )
    for row, result in parallel(jobs()):
        failed = failed or (report.on_error == "raise" and bool(result.problems))
        failed = failed or (report.on_missing_label == "raise" and bool(result.missing))
        yield row, result


def _run_row(
    row: int, case: Case, labels: list[int], task: Task, check_only: bool
) -> tuple[int, CaseResult]:
    return row, run_case(case, labels, task, check_only=check_only)


class _Results:
    """What the cache knows of a batch and what remains to be computed.

    Attributes
    ----------
    wanted : dict of int to list of int
        Labels to compute, by row.
    keeps : bool
        Whether results go into a cache.
    """

    def __init__(
        self,
        cases: list[Case],
        labels: list[int],
        task: Task,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        self.keeps = cache is not None
        self.wanted = {row: list(labels) for row in range(len(cases))}
        self._labels = labels
        self._is_lost = False
        self._digests: list[str | None] = [None] * len(cases)
        if cache is None:
            return
        self._store = ContentStore(cache_file(cache))
        self._settings = settings_digest(task.settings, task.schema, whole=task.whole)
        with ThreadPoolExecutor(cpu_count()) as pool:  # hashing releases the GIL
            self._digests = list(pool.map(case_digest, cases))

    def close(self) -> None:
        """Close the cache."""
        if self.keeps:
            self._store.close()

    def known(self) -> dict[int, CaseResult]:
        """Look up the cache, and strike what it has from the wanted."""
        results: dict[int, CaseResult] = {}
        if not self.keeps:
            return results
        for row, digest in enumerate(self._digests):
            if digest is None:
                continue
            by_key = {entry_key(digest, self._settings, label): label for label in self._labels}
            for key, entry in self._store.get_many(by_key).items():
                try:
                    decode_into(results.setdefault(row, CaseResult()), by_key[key], entry)
                except Exception as error:  # A forged entry has a checksum, too.
                    warn(
                        f"an entry of {self._store.path} is damaged ({error}); it is ignored and "
                        "computed again",
                        DamagedFileWarning,
                    )
                    continue
                self.wanted[row].remove(by_key[key])
            if not self.wanted[row]:
                del self.wanted[row]
        return results

    def keep(self, row: int, result: CaseResult) -> None:
        """Put a case's values into the cache, all its labels at once."""
        digest = self._digests[row]
        if digest is not None and not self._is_lost:
            bad = {label for label, _ in result.problems}
            done = [label for label in [*result.values, *result.missing] if label not in bad]
            try:
                self._store.put_many(
                    {
                        entry_key(digest, self._settings, label): encode(result, label)
                        for label in done
                    }
                )
            except OSError as error:  # What is computed is worth more than the cache.
                self._is_lost = True
                warn(
                    "results can no longer be stored, the rest of this call goes without the "
                    f"cache: {error}",
                    DamagedFileWarning,
                )
