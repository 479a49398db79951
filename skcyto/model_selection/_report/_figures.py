"""Figures of the HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from skcyto.model_selection._plot._calibration import CalibrationComparisonDisplay
from skcyto.model_selection._plot._confusion import ConfusionComparisonDisplay
from skcyto.model_selection._plot._curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._plot._scores import ScoreComparisonDisplay
from skcyto.model_selection._results._data import ComparisonData, gives_probabilities, gives_scores
from skcyto.model_selection._results._one_set import unit

# Whether it is wanted, heading, caption, and what draws it.
Wanted = tuple[bool, str, str, Callable[[], Any]]


def draw_figures(comparison: ComparisonData, wanted: Sequence[Wanted]) -> list[dict[str, str]]:
    """Draw what is wanted, or say why it can't be drawn.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    wanted : list of Wanted
        Figures.

    Returns
    -------
    figures : list of dict
        With `heading`, `caption`, `source`, `alt`, and `reason`, empty where there is a figure.
    """
    figures = []
    for present, title, text, draw in wanted:
        if not present:
            continue
        figure = {"heading": title, "caption": text, "source": "", "reason": ""}
        figure["alt"] = f"{title}: {', '.join(comparison.models)}"
        try:
            figure["source"] = _embed(draw().figure_)
        except ValueError as error:
            # Such as curves where no fold has all classes: the rest of the page is worth having.
            figure["reason"] = str(error)
        figures.append(figure)
    return figures


def _embed(figure: Any) -> str:
    import matplotlib
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    # Neither a date nor random names inside: the same comparison writes the same page.
    with matplotlib.rc_context({"svg.hashsalt": "skcyto"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def set_figures(
    comparison: ComparisonData, reference: str, confidence_level: float
) -> list[Wanted]:
    """List the figures of one test set.

    Parameters
    ----------
    comparison : ComparisonData
        With one test set.
    reference : str
        Model that the others are compared with.
    confidence_level : float
        Coverage of the intervals.

    Returns
    -------
    wanted : list of Wanted
    """
    scored = any(gives_scores(comparison, name) for name in comparison.models)
    calibrated = any(gives_probabilities(comparison, name) for name in comparison.models)
    over = ", averaged over classes" if len(comparison.classes) > 2 else ""
    others = "The other models are in grey." if len(comparison.models) > 1 else ""
    return [
        (
            len(comparison.models) > 1,
            "Scores",
            f"Left: score and {confidence_level:.0%} confidence interval. Right: differences from "
            f"{reference} with bootstrap intervals by {unit(comparison)}, and p-values of the "
            "permutation test after Holm's correction.",
            lambda: ScoreComparisonDisplay.from_comparison(
                comparison, reference=reference, rope=None, confidence_level=confidence_level
            ),
        ),
        (
            scored,
            f"ROC curves{over}",
            f"Of all cases of this set. {others}",
            partial(ROCComparisonDisplay.from_comparison, comparison),
        ),
        (
            scored,
            f"Precision-recall curves{over}",
            f"Of all cases of this set. {others} The dotted line is what guessing gives.",
            partial(PrecisionRecallComparisonDisplay.from_comparison, comparison),
        ),
        (
            True,
            "Confusion matrices",
            "Rows are true classes, the diagonal is recall.",
            partial(ConfusionComparisonDisplay.from_comparison, comparison),
        ),
        (
            calibrated,
            "Calibration",
            "Probabilities in 15 bins; a calibrated model lies on the diagonal. ECE: expected "
            "calibration error.",
            partial(CalibrationComparisonDisplay.from_comparison, comparison),
        ),
    ]
