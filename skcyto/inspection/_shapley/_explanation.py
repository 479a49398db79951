"""Shapley values of a classifier, and what is read from them."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skcyto.inspection._radiomics_names import group_labels
from skcyto.inspection._shapley._bootstrap import bootstrap_mean_interval
from skcyto.inspection._shapley._ranking import rank_agreement, ranking_stability
from skcyto.inspection._shapley._shap import import_shap

if TYPE_CHECKING:
    import shap
    from numpy.typing import ArrayLike


class Explanation:
    r"""Shapley values for every explained row, feature and class.

    Made by :func:`explain`. ``explanation[label]`` is a ``shap.Explanation``, which every
    plot of shap takes.

    Parameters
    ----------
    values : array-like of shape (n_samples, n_features, n_outputs)
        Shapley values, in units of the explained output.

    base_values : array-like of shape (n_outputs,)
        Mean output over the background; the values of a row sum to its output less this.

    data : array-like of shape (n_samples, n_features)
        Feature values of the explained rows.

    feature_names : sequence of str, default=None
        Names of the features; "x0", "x1", ... where None.

    class_names : sequence of str, default=None
        Names of the outputs; "class 0", ... where None.

    method : str, default="kernel"
        Explainer that was used: "kernel", "linear" or "tree".

    response_method : str, default="predict_proba"
        Output that was explained: "predict_proba" or "decision_function".

    additivity_error : float, default=nan
        Largest deviation of base value plus values from the classifier's output.

    repeat_importances : array-like of shape (n_repeats, n_features, n_outputs), default=None
        Mean \|value\| of each independent repeat.

    Attributes
    ----------
    n_samples, n_features, n_outputs : int
        Shape of the values.

    See Also
    --------
    explain : Makes explanations.
    ImportanceDisplay : Most important features, with intervals.
    GroupImportanceDisplay : Importance of structures, filters or feature classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.inspection import Explanation
    >>> values = np.array([[[0.3], [0.0]], [[-0.1], [0.1]]])
    >>> explanation = Explanation(
    ...     values, [0.5], np.zeros((2, 2)), feature_names=["area", "hue"], class_names=["healthy"]
    ... )
    >>> explanation.global_importance(random_state=0)["importance"]
    feature
    area    0.20
    hue     0.05
    Name: importance, dtype: float64
    """

    def __init__(
        self,
        values: ArrayLike,
        base_values: ArrayLike,
        data: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        method: str = "kernel",
        response_method: str = "predict_proba",
        additivity_error: float = np.nan,
        repeat_importances: ArrayLike | None = None,
    ) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        if self.values.ndim != 3:
            raise ValueError(
                f"values must be of shape (n_samples, n_features, n_outputs), not "
                f"{self.values.shape}"
            )
        self.n_samples, self.n_features, self.n_outputs = self.values.shape
        self.base_values = np.asarray(base_values, dtype=np.float64)
        self.data = np.asarray(data)
        self.feature_names = _names(feature_names, self.n_features, "x", "feature_names")
        self.class_names = _names(class_names, self.n_outputs, "class ", "class_names")
        self.method = method
        self.response_method = response_method
        self.additivity_error = additivity_error
        self.repeat_importances = (
            np.abs(self.values).mean(axis=0)[np.newaxis]
            if repeat_importances is None
            else np.asarray(repeat_importances, dtype=np.float64)
        )

    def __repr__(self) -> str:
        return (
            f"<Explanation of {self.response_method}: {self.n_samples} samples, "
            f"{self.n_features} features, classes {', '.join(self.class_names)}>"
        )

    def _repr_html_(self) -> str:
        top = self.global_importance(n_resamples=200, random_state=0).head(10)
        title = html.escape(repr(self))
        return f"<p>{title}</p>{top.to_html(float_format='{:.3g}'.format)}"

    def __len__(self) -> int:
        return self.n_outputs

    def __iter__(self) -> Iterator[str]:
        return iter(self.class_names)

    def __getitem__(self, label: Any) -> shap.Explanation:
        output = self._output(label)
        return import_shap().Explanation(
            self.values[:, :, output],
            base_values=np.full(self.n_samples, self.base_values[output]),
            data=self.data,
            feature_names=list(self.feature_names),
            output_names=self.class_names[output],
        )

    def to_shap(self) -> shap.Explanation:
        """Return all classes as one explanation of shap.

        Returns
        -------
        explanation : shap.Explanation
            With values of shape (n_samples, n_features, n_outputs).
        """
        return import_shap().Explanation(
            self.values,
            base_values=np.tile(self.base_values, (self.n_samples, 1)),
            data=self.data,
            feature_names=list(self.feature_names),
            output_names=list(self.class_names),
        )

    def global_importance(
        self,
        label: Any = None,
        *,
        groups: ArrayLike | None = None,
        n_resamples: int = 1000,
        confidence_level: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
    ) -> pd.DataFrame:
        """Rank the features by their mean absolute Shapley value.

        Parameters
        ----------
        label : str, default=None
            Class whose values are averaged; the mean over the classes where None.

        groups : array-like of shape (n_samples,), default=None
            Rows that belong together, as those of one patient: whole groups are resampled.

        n_resamples : int, default=1000
            Number of bootstrap resamples of the rows.

        confidence_level : float, default=0.95
            Coverage of the percentile interval.

        random_state : int, RandomState or None, default=None
            Seed of the resamples.

        Returns
        -------
        importance : pandas.DataFrame
            Indexed by feature, most important first, with the columns ``importance``, ``ci_low``,
            ``ci_high`` and ``rank``. The interval is about which rows were explained; it knows
            nothing of another training run or other coalitions: see :meth:`ranking_stability`.
        """
        samples = np.abs(self._of_class(label)).mean(axis=2)
        table = self._with_interval(
            samples, groups, n_resamples, confidence_level, random_state
        ).set_axis(pd.Index(self.feature_names, name="feature"))
        table = table.sort_values("importance", ascending=False, kind="stable")
        table["rank"] = np.arange(1, len(table) + 1)
        return table

    def group_importance(
        self,
        by: str | Sequence[str] | Callable[[str], str] = "feature_class",
        label: Any = None,
        *,
        groups: ArrayLike | None = None,
        n_resamples: int = 1000,
        confidence_level: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
    ) -> pd.DataFrame:
        """Sum the Shapley values of features that belong together.

        The sum of a group's values is what the group as a whole adds to the output; two features
        that cancel each other count nothing together.

        Parameters
        ----------
        by : str, callable or sequence of str, default="feature_class"
            For radiomics names such as ``superior_rectus__wavelet-LLH_glcm_Contrast``:
            "structure" (superior_rectus), "filter" (wavelet-LLH), "filter_family" (wavelet) or
            "feature_class" (glcm). A callable takes a feature's name and returns its group; a
            sequence names the group of each feature. Names that are not structured so are
            gathered as "other".

        label : str, default=None
            Class whose values are averaged; the mean over the classes where None.

        groups : array-like of shape (n_samples,), default=None
            Rows that belong together, as those of one patient: whole groups are resampled.

        n_resamples : int, default=1000
            Number of bootstrap resamples of the rows.

        confidence_level : float, default=0.95
            Coverage of the percentile interval.

        random_state : int, RandomState or None, default=None
            Seed of the resamples.

        Returns
        -------
        importance : pandas.DataFrame
            Indexed by group, most important first, with the columns ``importance`` (mean absolute
            sum of the group's values), ``ci_low``, ``ci_high``, ``total`` (sum of the features'
            own importances), ``share`` (of the totals), ``n_features`` and ``per_feature``
            (total / n_features: large groups are not important by their size alone).
        """
        labels = group_labels(self.feature_names, by)
        levels, codes = np.unique(labels, return_inverse=True)
        member = np.eye(len(levels))[codes]
        values = self._of_class(label)
        sums = np.abs(np.einsum("npc,pg->ngc", values, member)).mean(axis=2)
        table = self._with_interval(
            sums, groups, n_resamples, confidence_level, random_state
        ).set_axis(pd.Index(levels, name=by if isinstance(by, str) else "group"))
        own = np.abs(values).mean(axis=(0, 2))
        table["total"] = own @ member
        whole = table["total"].sum()
        table["share"] = table["total"] / whole if whole > 0 else 0.0
        table["n_features"] = member.sum(axis=0).astype(int)
        table["per_feature"] = table["total"] / table["n_features"]
        return table.sort_values("importance", ascending=False, kind="stable")

    def ranking_stability(self, label: Any = None, *, top: int = 10) -> pd.DataFrame:
        """Tell how the ranking differs between independent repeats of the explanation.

        Parameters
        ----------
        label : str, default=None
            Class whose values are averaged; the mean over the classes where None.

        top : int, default=10
            Number of leading ranks for ``top_frequency``.

        Returns
        -------
        stability : pandas.DataFrame
            Indexed by feature, in the order of :meth:`global_importance`, with the columns
            ``rank_mean``, ``rank_std``, ``rank_min``, ``rank_max`` and ``top_frequency`` (share of
            repeats in which the feature is among the `top` first).

        Raises
        ------
        ValueError
            If the explanation was made with fewer than two repeats, or `top` is no int of at
            least 1.
        """
        order = self._order(label)
        table = ranking_stability(self._repeats(label), top)
        return table.set_axis(pd.Index(self.feature_names, name="feature")).iloc[order]

    def rank_agreement(self, label: Any = None, *, top: int = 10) -> pd.Series:
        """Tell in three numbers how well independent repeats agree about the ranking.

        Parameters
        ----------
        label : str, default=None
            Class whose values are averaged; the mean over the classes where None.

        top : int, default=10
            Number of leading ranks that are compared.

        Returns
        -------
        agreement : pandas.Series
            Means over pairs of repeats: ``spearman`` (rank correlation of all features),
            ``top_overlap`` (share of the `top` first that both have), and ``same_first`` (share of
            pairs with the same first feature).

        Raises
        ------
        ValueError
            If the explanation was made with fewer than two repeats, or `top` is no int of at
            least 1.
        """
        return rank_agreement(self._repeats(label), top)

    def _output(self, label: Any) -> int:
        if str(label) not in self.class_names:
            raise KeyError(
                f"label={label!r} was not explained; there are: {', '.join(self.class_names)}"
            )
        return self.class_names.index(str(label))

    def _outputs(self, label: Any) -> list[int]:
        return list(range(self.n_outputs)) if label is None else [self._output(label)]

    def _of_class(self, label: Any) -> np.ndarray:
        return self.values[:, :, self._outputs(label)]

    def _order(self, label: Any) -> np.ndarray:
        return np.argsort(-np.abs(self._of_class(label)).mean(axis=(0, 2)), kind="stable")

    def _repeats(self, label: Any) -> np.ndarray:
        if len(self.repeat_importances) < 2:
            raise ValueError(
                "the stability of a ranking needs at least two repeats: call explain(..., "
                "n_repeats=5)"
            )
        return self.repeat_importances[:, :, self._outputs(label)].mean(axis=2)

    def _with_interval(
        self,
        samples: np.ndarray,
        groups: Any,
        n_resamples: int,
        confidence_level: float,
        random_state: Any,
    ) -> pd.DataFrame:
        low, high = bootstrap_mean_interval(
            samples,
            groups=groups,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            random_state=random_state,
        )
        return pd.DataFrame({"importance": samples.mean(axis=0), "ci_low": low, "ci_high": high})


def _names(names: Sequence[str] | None, size: int, prefix: str, parameter: str) -> list[str]:
    if names is None:
        return [f"{prefix}{position}" for position in range(size)]
    if len(names) != size:
        raise ValueError(f"{parameter} has {len(names)} names, but there are {size}")
    return [str(name) for name in names]
