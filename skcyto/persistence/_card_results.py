"""What a card tells of the data, the scores and the features of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from skcyto.model_selection._report_tables import caption, format_number, heading
from skcyto.persistence._card_model import Code, find_networks, is_reweighted, markdown_table
from skcyto.persistence._walk import walk
from skcyto.utils._markdown import code, escape_markdown

if TYPE_CHECKING:
    from skcyto.inspection import Explanation
    from skcyto.model_selection import ModelComparison

_FEW_CASES = 50


def choose_candidate(
    comparison: ModelComparison, pipeline: BaseEstimator, candidate: str | None
) -> str:
    """Find out which model of a comparison is meant.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    pipeline : estimator
        The fitted model.
    candidate : str or None
        Its name, if it is given.

    Returns
    -------
    name : str

    Raises
    ------
    ValueError
        If it can't be told.
    """
    if candidate is not None:
        return comparison.check_model(candidate)
    if len(comparison.models) == 1:
        return comparison.models[0]
    own = repr(clone(pipeline))
    same = [name for name in comparison.models if repr(clone(comparison.estimators[name])) == own]
    if len(same) == 1:
        return same[0]
    raise ValueError(
        f"which model of the comparison is this? {len(same)} of {comparison.models} have its "
        "parameters: give its name as candidate"
    )


def data_section(pipeline: BaseEstimator, comparison: ModelComparison | None, stated: str) -> str:
    """Tell classes and counts."""
    if comparison is not None:
        counts = np.bincount(comparison.y_codes)
        n_cases = len(comparison.y)
        groups = comparison.groups
        grouped = "" if groups is None else f", of {len(np.unique(groups))} groups"
        rows = [
            (label, count, f"{count / n_cases:.1%}")
            for label, count in zip(comparison.classes.tolist(), counts.tolist(), strict=True)
        ]
        table = markdown_table(["class", "cases", "share"], rows)
        return f"{stated}\n\n{n_cases} cases{grouped}:\n\n{table}"
    for network in find_networks(pipeline):
        labels = np.asarray(network.classes_).tolist()
        total = network.class_counts_.sum()
        rows = [
            (label, f"{count:g}", f"{count / total:.1%}")
            for label, count in zip(labels, network.class_counts_.tolist(), strict=True)
        ]
        table = markdown_table(["class", "cases that trained", "share"], rows)
        return f"{stated}\n\n{table}"
    classes = getattr(pipeline, "classes_", None)
    listed = "" if classes is None else f"\n\nClasses: {', '.join(map(escape_markdown, classes))}."
    return f"{stated}{listed}"


def folds_section(comparison: ModelComparison) -> str:
    """Tell how the data were split."""
    sizes = [len(test) for _, test in comparison.splits.splits]
    groups = (
        "Cases are not grouped."
        if comparison.groups is None
        else "No group is in the training and the test part of a fold at once."
    )
    return (
        f"{comparison.splits.description}, seed {comparison.seed}; {min(sizes)} to {max(sizes)} "
        f"test cases a fold. {groups} Every step was fitted inside each fold; the model of this "
        "card is another fit of the same steps."
    )


def scores_section(comparison: ModelComparison, name: str, confidence: float) -> str:
    """Tell the scores of a model, and those it was compared with."""
    table = comparison.table(confidence=confidence)
    rows = []
    for metric in comparison.metrics:
        values = {k: format_number(table.loc[name, (metric, k)]) for k in ("mean", "std")}
        low, high = (format_number(table.loc[name, (metric, k)]) for k in ("ci_low", "ci_high"))
        rows.append(
            (heading(comparison, metric), values["mean"], values["std"], f"{low} to {high}")
        )
    own = markdown_table(["score", "mean", "std", f"{confidence:.0%} interval"], rows)
    text = f"{code(name)}:\n\n{own}\n\n{caption(comparison, confidence)}"
    if len(comparison.models) > 1:
        others = comparison.to_markdown(comparison.primary_metric, confidence=confidence)
        text += f"\n\nAmong the models that it was compared with:\n\n{others.split(chr(10) * 2)[0]}"
    if comparison.failures:
        text += (
            f"\n\nFailed and not compared: {', '.join(map(escape_markdown, comparison.failures))}."
        )
    return text


def calibration_section(comparison: ModelComparison, name: str) -> str:
    """Tell how far the probabilities of a model can be believed."""
    from skcyto.model_selection import CalibrationComparisonDisplay

    if comparison.records(name)[0].predictions.kind != "predict_proba":
        return "The model gives no probabilities."
    display = CalibrationComparisonDisplay.from_comparison(comparison, models=[name], n_bins=5)
    curve = display.curves[name]
    what = (
        "its probability of the predicted class"
        if display.label is None
        else f"its probability of {display.label}"
    )
    happened = "it was right in" if display.label is None else "it was so in"
    rows = [
        (f"{predicted:.1%}", f"{observed:.1%}", f"{share:.1%}")
        for predicted, observed, share in zip(
            curve.predicted, curve.observed, curve.share, strict=True
        )
    ]
    table = markdown_table([f"mean of {what}", happened, "share of cases"], rows)
    return (
        f"Expected calibration error {format_number(curve.error)}, on the predictions for cases "
        f"that the model had not seen:\n\n{table}"
    )


def explanation_section(explanation: Explanation, confidence: float, top: int) -> str:
    """Name the features with the largest mean absolute Shapley values."""
    table = explanation.global_importance(confidence_level=confidence, random_state=0)
    rows = [
        (
            Code(code(feature)),
            f"{row['importance']:.4g}",
            f"{row['ci_low']:.4g} to {row['ci_high']:.4g}",
        )
        for feature, row in table.head(top).iterrows()
    ]
    error = explanation.additivity_error
    checked = "" if np.isnan(error) else f", additive to {error:.1g}"
    listed = markdown_table(["feature", "importance", f"{confidence:.0%} interval"], rows)
    return (
        f"Mean absolute Shapley value for {code(explanation.response_method)}, over "
        f"{explanation.n_samples} cases and {explanation.n_outputs} classes (method "
        f"{explanation.method}{checked}); the first {len(rows)} of {explanation.n_features} "
        f"features. Intervals are over cases.\n\n{listed}"
    )


def known_limits(
    pipeline: BaseEstimator,
    comparison: ModelComparison | None,
    name: str | None,
    explanation: Explanation | None,
) -> list[str]:
    """List what follows for the use of a model from how it was made."""
    limits = []
    if comparison is None:
        limits.append("Nothing is stated here of how well the model does: no scores were given.")
    else:
        limits.append(
            "The scores are of cross-validation on the data below. On other scanners, stains, "
            "sites or patients they may be lower; nothing here has measured that."
        )
        counts = np.bincount(comparison.y_codes)
        rare = [
            f"{escape_markdown(label)} ({count})"
            for label, count in zip(comparison.classes.tolist(), counts.tolist(), strict=True)
            if count < _FEW_CASES
        ]
        if rare:
            limits.append(
                f"Few cases: {', '.join(rare)}. What is said of so few is uncertain, more than the "
                "intervals of the means over classes show."
            )
        if comparison.groups is None:
            limits.append(
                "Cases were not grouped. If several come from one patient or slide, the scores "
                "are too high."
            )
        if len(comparison.models) > 1 and name is not None:
            limits.append(
                f"The model is one of {len(comparison.models)} that were compared on the same "
                "folds; if it was chosen for its scores, they flatter it."
            )
    limits += _limits_of_networks(pipeline)
    if explanation is not None:
        limits.append(
            "Shapley values tell what the model computes with, not what causes a disease."
        )
    classes = [
        escape_markdown(label) for label in np.asarray(getattr(pipeline, "classes_", [])).tolist()
    ]
    if classes:
        limits.append(
            f"Every input gets one of the classes {', '.join(classes)}, also one that shows "
            "something else."
        )
    return limits


def _limits_of_networks(pipeline: BaseEstimator) -> list[str]:
    limits = []
    if any(
        is_reweighted(network) and getattr(network, "predict_proba_prior", None) is None
        for network in find_networks(pipeline)
    ):
        limits.append(
            "Probabilities are those of a training that gave rare classes more weight: they are "
            "no frequencies. See the prior."
        )
    random: list[Any] = [
        item
        for item in walk(pipeline)
        if hasattr(item, "model_name")
        and getattr(item, "weights", "") is None
        and getattr(item, "finetune", None) is None
        and hasattr(item, "embedding_dim_")
    ]
    if random:
        limits.append("The embedding network has random weights: the model is a trial.")
    return limits
