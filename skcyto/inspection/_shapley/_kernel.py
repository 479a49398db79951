"""shap's KernelExplainer in little memory and without touching numpy's global generator."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from skcyto.inspection._shapley._shap import import_shap, quiet_shap
from skcyto.utils._warnings import warn

_KernelExplainer: Any = import_shap().KernelExplainer

# Rows that are predicted together take at most this much memory.
_CHUNK_BYTES = 64 * 2**20

# shap draws coalitions from numpy's global generator. One thread at a time may borrow it.
_GLOBAL_GENERATOR = threading.Lock()


class ChunkedKernelExplainer(_KernelExplainer):
    """Kernel SHAP with shap's own coalitions and weights.

    shap lays out every coalition times every background row at once (2.2 GB a row at 768 features
    and a background of 100), solves one regression an output, and draws from numpy's global
    generator. This class fills a small buffer again and again, solves all outputs from one
    factorisation, and seeds each row by itself, putting the global generator back.

    Parameters
    ----------
    predict : callable
        From an array of shape (n, n_features) to one of shape (n, n_outputs).
    background : ndarray of shape (n_background, n_features)
        Rows that stand in for absent features.
    weights : ndarray of shape (n_background,)
        Weights of these rows; they sum to one.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        background: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        with quiet_shap():
            super().__init__(predict, background)
        self.data.weights = weights
        self.fnull = weights @ predict(background)
        self.expected_value = self.fnull
        self._generator_state: Any = None
        self._seed = 0
        self._values: np.ndarray | None = None

    def explain_row(
        self, x: np.ndarray, seed: int, *, n_samples: int | str, l1_reg: Any
    ) -> np.ndarray:
        """Explain one row; safe to call from several threads.

        Parameters
        ----------
        x : ndarray of shape (n_features,)
            Row to explain.
        seed : int
            Seed of its coalitions.
        n_samples : int or "auto"
            Number of coalitions.
        l1_reg : str or float
            Given to shap.

        Returns
        -------
        values : ndarray of shape (n_features, n_outputs)
        """
        # shap keeps the state of the row it works on in the explainer.
        explainer = copy.copy(self)
        explainer._seed = seed
        explainer._values = None
        try:
            return explainer.explain(x.reshape(1, -1), nsamples=n_samples, l1_reg=l1_reg)
        finally:
            explainer._return_global_generator()

    def varying_groups(self, x: np.ndarray) -> np.ndarray:
        """Find the features in which the row differs from the background."""
        same = np.isclose(x[0], self.data.data, equal_nan=True).all(axis=0)
        return np.flatnonzero(~same)

    def allocate(self) -> None:
        """Make room for the coalitions; shap draws them directly after this call."""
        self.maskMatrix = np.zeros((self.nsamples, self.M))
        self.kernelWeights = np.zeros(self.nsamples)
        self.ey = np.zeros((self.nsamples, self.D))
        self.nsamplesAdded = 0
        self._borrow_global_generator()

    def addsample(self, x: np.ndarray, m: np.ndarray, w: float) -> None:
        """Note one coalition."""
        self._x = x[0]
        self.maskMatrix[self.nsamplesAdded] = m
        self.kernelWeights[self.nsamplesAdded] = w
        self.nsamplesAdded += 1

    def run(self) -> None:
        """Predict every coalition, some at a time, averaged over the background."""
        self._return_global_generator()
        # Repeated draws raise a weight instead of adding a coalition: some room may stay empty.
        added = self.nsamplesAdded
        self.maskMatrix, self.kernelWeights = self.maskMatrix[:added], self.kernelWeights[:added]
        self.ey = self.ey[:added]
        background = self.data.data
        per_chunk = max(1, _CHUNK_BYTES // background.nbytes)
        buffer = np.empty((min(per_chunk, added), *background.shape), dtype=background.dtype)
        for start in range(0, added, per_chunk):
            masks = self.maskMatrix[start : start + per_chunk] == 1.0
            for mask, rows in zip(masks, buffer, strict=False):
                present = self.varyingFeatureGroups[mask]
                rows[:] = background
                rows[:, present] = self._x[present]
            rows = buffer[: len(masks)].reshape(-1, background.shape[1])
            outputs = self.model.f(rows).reshape(len(masks), len(background), self.D)
            self.ey[start : start + len(masks)] = np.einsum("b,cbd->cd", self.data.weights, outputs)

    def solve(self, fraction_evaluated: float, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the Shapley values of one output."""
        if self.l1_reg:
            with quiet_shap():
                return super().solve(fraction_evaluated, dim)
        if self._values is None:
            self._values = self._solve_all_outputs()
        return self._values[:, dim], np.ones(self.M)

    def _solve_all_outputs(self) -> np.ndarray:
        # The values sum to f(x) - E[f], which eliminates the last feature.
        total = self.fx - self.fnull
        last = self.maskMatrix[:, -1:]
        root = np.sqrt(self.kernelWeights)[:, np.newaxis]
        design = root * (self.maskMatrix[:, :-1] - last)
        target = root * (self.ey - self.fnull - last * total)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", linalg.LinAlgWarning)
                values = linalg.solve(design.T @ design, design.T @ target, assume_a="pos")
        except (linalg.LinAlgError, linalg.LinAlgWarning):
            warn(
                f"{len(design)} distinct coalitions do not determine the Shapley values of "
                f"{self.M} features, so those of smallest norm are returned: raise n_samples"
            )
            values = linalg.lstsq(design, target)[0]
        return np.vstack([values, total - values.sum(axis=0)])

    def _borrow_global_generator(self) -> None:
        _GLOBAL_GENERATOR.acquire()
        self._generator_state = np.random.get_state()  # noqa: NPY002 (shap draws from it)
        np.random.seed(self._seed)  # noqa: NPY002

    def _return_global_generator(self) -> None:
        if self._generator_state is None:
            return
        np.random.set_state(self._generator_state)  # noqa: NPY002
        self._generator_state = None
        _GLOBAL_GENERATOR.release()
