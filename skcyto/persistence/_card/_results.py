"""What a card tells of the data, the scores and the features of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from skcyto.model_selection._report._tables import caption
from skcyto.model_selection._results._curves import calibration_curves
from skcyto.model_selection._results._data import gives_probabilities
from skcyto.model_selection._results._one_set import describe_set
from skcyto.model_selection._results._wording import MISSING, format_number, heading
from skcyto.persistence._card._model import Code, find_networks, is_reweighted, markdown_table
from skcyto.persistence._walk import walk
from skcyto.utils._markdown import code, escape_markdown

if TYPE_CHECKING:
    from skcyto.inspection import Explanation
    from skcyto.model_selection import ModelComparison

_FEW_CASES = 50


def data_section(pipeline: BaseEstimator, comparison: ModelComparison | None, stated: str) -> str:
    """Tell classes and counts."""
    if comparison is not None:
        groups = comparison.groups
        n_groups = 0 if groups is None else len(np.unique(groups[comparison.tested]))
        grouped = f", of {n_groups} groups" if n_groups else ""
        counted = f"{len(comparison.tested)} cases{grouped}:\n\n{_class_table(comparison)}"
        if comparison.splits.one_test_set:
            counted = f"{len(comparison.splits.splits[0][0])} training cases. Tested: {counted}"
        return f"{stated}\n\n{counted}"
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


def _class_table(comparison: ModelComparison) -> str:
    counts = tested_counts(comparison)
    total = sum(counts.values())
    rows = [(label, count, f"{count / total:.1%}") for label, count in counts.items()]
    return markdown_table(["class", "cases", "share"], rows)


def tested_counts(comparison: ModelComparison) -> dict[Any, int]:
    """Count the tested cases of every class."""
    codes = comparison.y_codes[comparison.tested]
    counts = np.bincount(codes, minlength=len(comparison.classes))
    return dict(zip(comparison.classes.tolist(), counts.tolist(), strict=True))


def folds_section(comparison: ModelComparison) -> str:
    """Tell how the data were split."""
    if comparison.splits.one_test_set:
        return _one_set_section(comparison)
    sizes = {len(test) for _, test in comparison.splits.splits}
    tested = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"{min(sizes)}"
    groups = (
        "Cases are not grouped."
        if comparison.groups is None
        else "No group is in the training and the test part of a fold at once."
    )
    return (
        f"{comparison.splits.description}, seed {comparison.seed}; {tested} "
        f"test cases a fold. {groups} Every step was fitted inside each fold; the model of this "
        "card is another fit of the same steps."
    )


def _one_set_section(comparison: ModelComparison) -> str:
    groups = "Cases are not grouped."
    if comparison.groups is not None:
        groups = "No group is in both."
        if comparison.splits.site:
            groups = "No group of the tested cases is among those with which models were fitted."
    split = "" if comparison.splits.site else f"{comparison.splits.description}: "
    return (
        f"{split}{describe_set(comparison)}, seed {comparison.seed}. {groups} There was no "
        "cross-validation on these cases; the model of this card is another fit of the same steps."
    )


def external_sections(
    comparison: ModelComparison, name: str, confidence: float
) -> list[tuple[str, str]]:
    """Tell how well a model does on every external set, with a heading for each."""
    sections = []
    for site, external in comparison.external.items():
        heading = f"External validation on {site}"
        if name in external.failures:
            failed = external.failures[name][0].error
            sections.append((heading, f"The model failed there: {failed}"))
            continue
        sections.append(
            (
                heading,
                f"{describe_set(external)}.\n\n{_class_table(external)}\n\n"
                f"{scores_section(external, name, confidence)}\n\n"
                f"{calibration_section(external, name)}",
            )
        )
    return sections


def scores_section(comparison: ModelComparison, name: str, confidence: float) -> str:
    """Tell the scores of a model, and those it was compared with."""
    table = comparison.table(confidence_level=confidence)
    folds = not comparison.splits.one_test_set
    rows = []
    for metric in comparison.metrics:
        mean, std, low, high = (
            format_number(table.loc[name, (metric, key)])
            for key in ("mean", "std", "ci_low", "ci_high")
        )
        interval = MISSING if low == MISSING else f"{low} to {high}"
        spread = (mean, std) if folds else (mean,)
        rows.append((heading(comparison, metric), *spread, interval))
    columns = ["score", "mean", "std"] if folds else ["score", "value"]
    own = markdown_table([*columns, f"{confidence:.0%} interval"], rows)
    text = f"{code(name)}:\n\n{own}\n\n{caption(comparison, confidence)}"
    if len(comparison.models) > 1:
        others = comparison.to_markdown(comparison.primary_metric, confidence_level=confidence)
        text += f"\n\nAmong the models that it was compared with:\n\n{others.split(chr(10) * 2)[0]}"
    if comparison.failures:
        text += (
            f"\n\nFailed and not compared: {', '.join(map(escape_markdown, comparison.failures))}."
        )
    return text


def calibration_section(comparison: ModelComparison, name: str) -> str:
    """Tell how far the probabilities of a model can be believed."""
    if not gives_probabilities(comparison, name):
        return "The model gives no probabilities."
    curves, label = calibration_curves(comparison, None, [name], n_bins=5)
    curve = curves[name]
    what = f"its probability of {'the predicted class' if label is None else label}"
    happened = "it was right in" if label is None else "it was so in"
    rows = [
        (f"{predicted:.1%}", f"{observed:.1%}", f"{share:.1%}")
        for predicted, observed, share in zip(
            curve.predicted, curve.observed, curve.share, strict=True
        )
    ]
    table = markdown_table([f"mean of {what}", happened, "share of cases"], rows)
    return f"On the predictions for cases that the model had not seen, in five bins:\n\n{table}"


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
        limits.append(_limit_of_scores(comparison))
        rare = [
            f"{escape_markdown(label)} ({count})"
            for label, count in tested_counts(comparison).items()
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
            same = "cases" if comparison.splits.one_test_set else "folds"
            limits.append(
                f"The model is one of {len(comparison.models)} that were compared on the same "
                f"{same}; if it was chosen for its scores, they flatter it."
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


def _limit_of_scores(comparison: ModelComparison) -> str:
    site = comparison.splits.site
    if comparison.external:
        listed = ", ".join(comparison.external)
        what = (
            "The scores under Scores are of cross-validation on the data below; those on cases of "
            f"elsewhere ({listed}) stand under External validation. On further"
        )
    elif site:
        what = f"The scores are of external validation on {site}. On further"
    elif comparison.splits.one_test_set:
        what = "The scores are of one test set and one set of training cases. On other"
    else:
        what = "The scores are of cross-validation on the data below. On other"
    return (
        f"{what} scanners, stains, sites or patients they may be lower; nothing here has measured "
        "that."
    )


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
