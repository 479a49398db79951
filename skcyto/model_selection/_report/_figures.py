"""Figures of the HTML page."""

from __future__ import annotations

import base64
import io
from typing import Any

from skcyto.model_selection._plot._calibration import CalibrationComparisonDisplay
from skcyto.model_selection._plot._confusion import ConfusionComparisonDisplay
from skcyto.model_selection._plot._curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._plot._scores import ScoreComparisonDisplay
from skcyto.model_selection._results._data import (
    ComparisonData,
    gives_probabilities,
    gives_scores,
)
from skcyto.model_selection._results._one_set import unit


def draw_figures(
    comparison: ComparisonData, reference: str, rope: float, confidence_level: float
) -> list[dict[str, str]]:
    """Draw what data allow, or say why it can't be drawn.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    reference : str
        Model that the others are compared with.
    rope : float
        Differences up to this size count as equivalent, over folds.
    confidence_level : float
        Coverage of the intervals.

    Returns
    -------
    figures : list of dict
        With `heading`, `caption`, `source`, `alt`, and `reason`, empty where there is a figure.
    """
    one_set = comparison.splits.one_test_set
    captions = _set_captions(comparison) if one_set else _fold_captions(comparison)
    captions["scores"] = _score_caption(comparison, reference, confidence_level)
    over = ", averaged over classes" if len(comparison.classes) > 2 else ""
    wanted: list[tuple[str, str, Any, dict[str, Any]]] = []
    if len(comparison.models) > 1 or not one_set:
        heading = "Scores" if one_set else "Scores fold by fold"
        if comparison.is_pooled():
            heading = "Scores of pooled predictions"
        keywords = {
            "reference": reference,
            "rope": None if one_set else rope,
            "confidence_level": confidence_level,
        }
        wanted.append(("scores", heading, ScoreComparisonDisplay, keywords))
    if any(gives_scores(comparison, name) for name in comparison.models):
        wanted += [
            ("curves", f"ROC curves{over}", ROCComparisonDisplay, {}),
            ("chance", f"Precision-recall curves{over}", PrecisionRecallComparisonDisplay, {}),
        ]
    wanted.append(("confusion", "Confusion matrices", ConfusionComparisonDisplay, {}))
    if any(gives_probabilities(comparison, name) for name in comparison.models):
        wanted.append(("calibration", "Calibration", CalibrationComparisonDisplay, {}))
    figures = []
    for key, heading, display, keywords in wanted:
        figure = {"heading": heading, "caption": captions[key], "source": "", "reason": ""}
        figure["alt"] = f"{heading}: {', '.join(comparison.models)}"
        try:
            figure["source"] = _embed(display.from_comparison(comparison, **keywords).figure_)
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


def _score_caption(comparison: ComparisonData, reference: str, confidence_level: float) -> str:
    if comparison.splits.one_test_set:
        return (
            f"Left: score and {confidence_level:.0%} confidence interval. Right: differences from "
            f"{reference} with bootstrap intervals by {unit(comparison)}, and p-values of the "
            "permutation test after Holm's correction."
        )
    if comparison.is_pooled():
        return (
            "Left: the pooled predictions of each round (dots) and their mean. Right: differences "
            f"from {reference}. Folds lack classes: there are no scores fold by fold. "
            "The shaded strip is the region of practical equivalence."
        )
    return (
        "Left: every fold (dots), mean and confidence interval. Right: paired differences "
        f"from {reference}, with p-values after Holm's correction; the shaded strip is the "
        "region of practical equivalence."
    )


def _set_captions(comparison: ComparisonData) -> dict[str, str]:
    others = " The other models are in grey." if len(comparison.models) > 1 else ""
    curves = f"Of all cases of this set.{others}"
    return {
        "curves": curves,
        "chance": f"{curves} The dotted line is what guessing gives.",
        "confusion": "Rows are true classes, the diagonal is recall.",
        "calibration": "Probabilities in 15 bins; a calibrated model lies on the diagonal. ECE: "
        "expected calibration error.",
    }


def _fold_captions(comparison: ComparisonData) -> dict[str, str]:
    others = ", the other models are in grey" if len(comparison.models) > 1 else ""
    curves = f"Mean over folds; the band is one standard deviation{others}."
    n_folds, n_whole = len(comparison.splits.splits), comparison.n_whole_folds()
    if n_whole < n_folds:
        curves += f" {n_whole} of {n_folds} folds hold every class and are shown."
    return {
        "curves": curves,
        "chance": f"{curves} The dotted line is what guessing gives.",
        "confusion": "Pooled out-of-fold predictions; rows are true classes, the diagonal is "
        "recall.",
        "calibration": "Pooled out-of-fold probabilities in 15 bins; a calibrated model lies on "
        "the diagonal. ECE: expected calibration error of the pooled probabilities, which as a "
        "rule is less than the mean over folds above, since small samples look uncalibrated by "
        "chance.",
    }
