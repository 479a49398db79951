"""Methods of a comparison that write: a page, Markdown, LaTeX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from skcyto.model_selection._report._page import write_html
from skcyto.model_selection._report._tables import scores_to_latex, scores_to_markdown

if TYPE_CHECKING:
    from skcyto.model_selection._results._data import ModelComparison


class ReportMethods:
    """The ``to_...`` methods of a comparison."""

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str = "Model comparison",
        reference: str | None = None,
        rope: float = 0.01,
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
    ) -> None:
        """Write the whole comparison as one self-contained page.

        Tables, tests, figures, failures and how it was all worked out, in one file that needs
        nothing else, reads on screen and prints well. Where data allow no test or figure, such as
        areas under curves for a class that one patient alone has, the page says why in its place.

        Parameters
        ----------
        path : str or path
            File to write.
        title : str, default="Model comparison"
            Heading of the page.
        reference : str or None, default=None
            Model that the others are tested against; None for the first candidate. If that one
            failed, the page says so and takes the next that succeeded.
        rope : float, default=0.01
            Differences of at most this size count as practically equivalent.
        confidence_level : float, default=0.95
            Coverage of the intervals.
        n_resamples : int, default=1000
            Draws of the bootstrap, at least 10; 0 leaves it out.

        Raises
        ------
        ValueError
            If a parameter is out of range, or the named reference failed.
        """
        write_html(
            self._self,
            path,
            title=title,
            reference=reference,
            rope=rope,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
        )

    def to_markdown(
        self, metrics: str | Sequence[str] | None = None, *, confidence_level: float = 0.95
    ) -> str:
        """Return the table of scores in Markdown.

        Parameters
        ----------
        metrics : str, list of str or None, default=None
            Scores to show; None for all.
        confidence_level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        text : str
            The best mean of each column is bold.
        """
        return scores_to_markdown(self._self, self._self.check_metrics(metrics), confidence_level)

    def to_latex(
        self, metrics: str | Sequence[str] | None = None, *, confidence_level: float = 0.95
    ) -> str:
        """Return the table of scores in LaTeX, for the package booktabs.

        Parameters
        ----------
        metrics : str, list of str or None, default=None
            Scores to show; None for all.
        confidence_level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        text : str
            The best mean of each column is bold.
        """
        return scores_to_latex(self._self, self._self.check_metrics(metrics), confidence_level)

    @property
    def _self(self) -> ModelComparison:
        return cast("ModelComparison", self)
