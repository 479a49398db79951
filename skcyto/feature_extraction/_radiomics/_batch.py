"""Many cases: the cache, the processes, the progress bar."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
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
from skcyto.feature_extraction._radiomics._structures import Structure, structures_of
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
                report.add_problem(case, problem)
    return sorted(found)


def run_batch(
    cases: list[Case],
    structures: list[Structure],
    task: Task,
    report: Report,
    *,
    n_jobs: int | None,
    cache: str | os.PathLike[str] | None,
    verbose: int,
) -> NDArray[np.float64]:
    """Extract all structures of all cases; rows of the same images and mask are read once.

    Parameters
    ----------
    cases : list of Case
    structures : list of Structure
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
    rows = np.full((len(cases), len(structures), len(task.schema.features)), np.nan)
    own = [structures_of(case, structures) for case in cases]
    scans: dict[Hashable, list[int]] = {}
    for row, case in enumerate(cases):
        scans.setdefault(case.scan, []).append(row)
    firsts = [cases[members[0]] for members in scans.values()]
    needed = [
        list({each.key: each for row in members for each in own[row]}.values())
        for members in scans.values()
    ]
    with (
        closing(_Results(firsts, needed, task, cache)) as store,
        progress_bar(total=len(firsts), desc="Radiomics", unit="case", verbose=verbose) as bar,
    ):
        results = store.known()
        bar.update(len(firsts) - len(store.wanted))
        for number, result in _compute(firsts, store, task, report, n_jobs):
            store.keep(number, result)
            results.setdefault(number, CaseResult()).update(result)
            bar.update(1)
    by_row = {row: number for number, members in enumerate(scans.values()) for row in members}
    for row, number in sorted(by_row.items()):
        if number in results:
            _enter(rows[row], cases[row], results[number], own[row], report)
    report.lost.update(np.flatnonzero(np.isnan(rows).all(axis=(1, 2))).tolist())
    return rows.reshape(len(cases), -1)


def _enter(
    row: NDArray[np.float64],
    case: Case,
    result: CaseResult,
    structures: list[Structure],
    report: Report,
) -> None:
    by_key = {structure.key: structure for structure in structures}
    for key, reason in result.problems:
        if key is None or key in by_key:
            report.add_problem(case, reason, None if key is None else by_key[key])
    for key, reason in result.missing.items():
        if key in by_key:
            report.add_missing(case, reason, by_key[key])
    if any(key is None for key, _ in result.problems):
        return  # nothing of a bad case is to be trusted, what the cache has of it included
    for position, (key, structure) in enumerate(by_key.items()):
        if key not in result.values:
            continue
        row[position] = result.values[key]
        for note in result.notes.get(key, []):
            report.add_note(case, note, structure)


def _compute(
    cases: list[Case], store: _Results, task: Task, report: Report, n_jobs: int | None
) -> Iterator[tuple[int, CaseResult]]:
    """Run what the cache lacks; once an error is sure, only look for further ones."""
    failed = False

    def jobs() -> Iterator[Any]:
        for number, wanted in store.wanted.items():
            # Without a cache, whatever is computed after the first error would be lost.
            check_only = failed and not store.keeps
            yield delayed(_run_scan)(number, cases[number], wanted, task, check_only)

    # A case waits in memory only where the caller passed voxels instead of paths.
    parallel = WatchedParallel(
        n_jobs=n_jobs,
        prefer="processes",
        pre_dispatch="1.5*n_jobs",
        batch_size=1,
        return_as="generator_unordered",
    )
    for number, result in parallel(jobs()):
        failed = failed or (report.on_error == "raise" and bool(result.problems))
        failed = failed or (report.on_missing_label == "raise" and bool(result.missing))
        yield number, result


def _run_scan(
    number: int, case: Case, structures: list[Structure], task: Task, check_only: bool
) -> tuple[int, CaseResult]:
    return number, run_case(case, structures, task, check_only=check_only)


class _Results:
    """What the cache knows of a batch and what remains to be computed.

    Attributes
    ----------
    wanted : dict of int to list of Structure
        What to compute, by the number of the case.
    keeps : bool
        Whether results go into a cache.
    """

    def __init__(
        self,
        cases: list[Case],
        structures: list[list[Structure]],
        task: Task,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        self.keeps = cache is not None
        self.wanted = {number: list(its) for number, its in enumerate(structures)}
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
        for number, digest in enumerate(self._digests):
            if digest is None:
                continue
            by_key = {
                entry_key(digest, self._settings, each.key): each for each in self.wanted[number]
            }
            for key, entry in self._store.get_many(by_key).items():
                try:
                    decode_into(results.setdefault(number, CaseResult()), by_key[key].key, entry)
                except Exception as error:  # A forged entry has a checksum, too.
                    warn(
                        f"an entry of {self._store.path} is damaged ({error}); it is ignored and "
                        "computed again",
                        DamagedFileWarning,
                    )
                    continue
                self.wanted[number].remove(by_key[key])
            if not self.wanted[number]:
                del self.wanted[number]
        return results

    def keep(self, number: int, result: CaseResult) -> None:
        """Put a case's values into the cache, all its structures at once."""
        digest = self._digests[number]
        if digest is not None and not self._is_lost:
            bad = {key for key, _ in result.problems}
            done = [key for key in [*result.values, *result.missing] if key not in bad]
            try:
                self._store.put_many(
                    {entry_key(digest, self._settings, key): encode(result, key) for key in done}
                )
            except OSError as error:  # What is computed is worth more than the cache.
                self._is_lost = True
                warn(
                    "results can no longer be stored, the rest of this call goes without the "
                    f"cache: {error}",
                    DamagedFileWarning,
                )
