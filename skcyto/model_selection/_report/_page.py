"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skcyto.model_selection._plot._calibration import CalibrationComparisonDisplay
from skcyto.model_selection._plot._confusion import ConfusionComparisonDisplay
from skcyto.model_selection._plot._curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._plot._scores import ScoreComparisonDisplay
from skcyto.model_selection._report._figures import Wanted, draw_figures
from skcyto.model_selection._report._one_set import one_set_part
from skcyto.model_selection._report._pooled import pooled_tables
from skcyto.model_selection._report._tables import best_models, caption
from skcyto.model_selection._report._template import TEMPLATE
from skcyto.model_selection._report._template_one_set import ONE_SET
from skcyto.model_selection._results._data import (
    ComparisonData,
    check_reference,
    gives_probabilities,
    gives_scores,
)
from skcyto.model_selection._results._fold_tests import bayesian_tests, fold_tests, without_variance
from skcyto.model_selection._results._table import score_table
from skcyto.model_selection._results._wording import format_number, format_pvalue, heading

_COLUMNS = 6


def write_html(
    comparison: ComparisonData,
    path: str | os.PathLike[str],
    *,
    title: str,
    reference: str | None,
    rope: float,
    confidence_level: float,
    n_resamples: int,
) -> None:
    """See :meth:`ModelComparison.to_html`.

    Parameters
    ----------
    comparison : ComparisonData
        The comparison.
    path : str or path
        File to write.
    title : str
        Heading of the page.
    reference : str or None
        Model that the others are tested against.
    rope : float
        Differences up to this size count as equivalent.
    confidence_level : float
        Coverage of the intervals.
    n_resamples : int
        Draws of the bootstrap; 0 for none.
    """
    import jinja2

    if n_resamples != 0 and n_resamples < 10:
        raise ValueError(f"n_resamples={n_resamples!r} must be at least 10, or 0 for no bootstrap")
    first = next(iter(comparison.results))
    stands_in = reference is None and first in comparison.failures
    # A page must come out of a long run: it says who takes the place of a failed reference.
    reference = comparison.models[0] if stands_in else check_reference(comparison, reference)
    metric = comparison.primary_metric
    several = len(comparison.models) > 1
    folds = not comparison.splits.one_test_set
    # A score of pooled predictions has no tests over folds; the caption says why.
    is_pooled = comparison.is_pooled(metric)
    test = bayes = pd.DataFrame()
    if folds and not is_pooled:
        test = fold_tests(comparison, reference, metric, confidence_level)
        bayes = bayesian_tests(comparison, reference, metric, rope)
    sentences = (
        _sentences(comparison, reference, test, bayes, confidence_level, rope) if folds else []
    )
    sets = list(comparison.external.values()) if folds else [comparison]
    if stands_in and several:
        sentences.append(
            f"The first candidate, {first}, was to be the reference and failed. Differences on "
            f"this page are from {reference}, the first that succeeded, which nobody chose for it."
        )
    if comparison.external:
        sentences.append(
            "These are scores of cross-validation. Below there is external validation on "
            f"{', '.join(comparison.external)}."
        )
    page = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.DictLoader({"page": TEMPLATE, "one_set": ONE_SET}),
    ).get_template("page")
    text = page.render(
        title=title,
        facts=_facts(comparison),
        sentences=sentences,
        failures=[
            (
                name,
                f"{failed[0].error} (on {len(failed)} of {len(comparison.splits.splits)} folds)"
                if folds
                else failed[0].error,
                failed[0].traceback,
            )
            for name, failed in comparison.failures.items()
        ],
        folds=folds,
        several=several,
        sets=[
            one_set_part(
                each,
                reference,
                confidence_level,
                comparison if folds else None,
                _score_tables(each, confidence_level) if each.models else [],
            )
            for each in sets
        ],
        score_note=caption(comparison, confidence_level) if folds else "",
        score_tables=_score_tables(comparison, confidence_level) if folds else [],
        metric_title=comparison.measures[metric].title,
        reference=reference,
        tests=_test_rows(test, bayes),
        df=int(test["df"].max()) if several and folds and not is_pooled else 0,
        confidence_level=f"{confidence_level:.0%}",
        rope=f"{rope:g}",
        figures=_figures(comparison, reference, rope, confidence_level) if folds else [],
        pooled=pooled_tables(comparison, reference, confidence_level, n_resamples)
        if several and folds
        else [],
        models=_models(comparison),
        is_pooled=is_pooled,
        versions=_versions(),
    )
    Path(path).write_text(text, encoding="utf-8")


def _facts(comparison: ComparisonData) -> dict[str, Any]:
    counts = np.bincount(comparison.y_codes)
    groups = comparison.groups
    return {
        "n_cases": len(comparison.y),
        "n_groups": 0 if groups is None else len(np.unique(groups)),
        "classes": [
            (str(label), int(count), f"{count / len(comparison.y):.0%}")
            for label, count in zip(comparison.classes.tolist(), counts, strict=True)
        ],
        "folds": comparison.splits.description,
        "seed": comparison.seed,
    }


def _sentences(
    comparison: ComparisonData,
    reference: str,
    test: pd.DataFrame,
    bayes: pd.DataFrame,
    confidence_level: float,
    rope: float,
) -> list[str]:
    metric = comparison.primary_metric
    table = score_table(comparison, metric, confidence_level=confidence_level)[metric]
    best = [name for name in comparison.models if name in best_models(comparison, metric)]
    title = comparison.measures[metric].title
    if not best:
        return [f"No model has a {title}: it is undefined on every fold."]
    name = best[0]
    if comparison.is_pooled(metric):
        sentences = [
            f"Best {title} of pooled predictions: {' and '.join(best)}, "
            f"{format_number(table['mean'][name])}."
        ]
        if len(comparison.models) > 1:
            sentences.append(
                f"Folds lack classes, so that {title} has no test over folds; the tests on pooled "
                "predictions below say what can be said."
            )
        return sentences
    low, high = format_number(table["ci_low"][name]), format_number(table["ci_high"][name])
    interval = (
        f"{confidence_level:.0%} confidence interval {low} to {high}"
        if np.isfinite(table["ci_low"][name])
        else "no interval, since nothing is known of how it varies"
    )
    which = f"Best mean {title}" if len(comparison.models) > 1 else f"Mean {title}"
    sentences = [
        f"{which}: {' and '.join(best)}, {format_number(table['mean'][name])} ({interval})."
    ]
    sentences += [
        f"{model} differs from {other} by {format_number(difference)} in every fold: such a "
        "difference has no variance, and so no p-value, probability or interval."
        for (model, other), difference in without_variance(test).items()
    ]
    few = test.index[test["pvalue"].isna() & (test["n_folds"] < 2)]
    if len(few):
        sentences.append(
            f"Not tested against {reference} in {title}: "
            f"{', '.join(few.get_level_values('model'))}, of which fewer than two folds have a "
            "score."
        )
    test = test[test["pvalue"].notna()]
    if test.empty:
        return sentences
    alpha = 1 - confidence_level
    found = test.index[test["p_holm"] < alpha].get_level_values("model").tolist()
    if found:
        sentences.append(
            f"Different from {reference} in {title} at the {alpha:.0%} level, corrected for "
            f"{len(test)} comparison{'s' if len(test) > 1 else ''}: {', '.join(found)}."
        )
    else:
        sentences.append(
            f"No model was found to differ from {reference} in {title} at the {alpha:.0%} level, "
            f"corrected for {len(test)} comparison{'s' if len(test) > 1 else ''}."
        )
    if name != reference and np.isfinite(bayes.loc[(name, reference), "p_better"]):
        row = bayes.loc[(name, reference)]
        sentences.append(
            f"{name} is better than {reference} by more than {rope:g} with probability "
            f"{row['p_better']:.2f}, practically equivalent with {row['p_equivalent']:.2f}, worse "
            f"with {row['p_worse']:.2f}. It was picked as the best of {len(comparison.models)}, "
            "which flatters it."
        )
    return sentences


def _score_tables(
    comparison: ComparisonData, confidence_level: float
) -> list[tuple[str, Any, Any]]:
    table = score_table(comparison, confidence_level=confidence_level)
    recalls = [name for name in comparison.metrics if name.startswith("recall[")]
    rest = [name for name in comparison.metrics if name not in recalls]
    chunks = [("", chunk) for chunk in _chunks(rest)]
    chunks += [("Recall by class" if i == 0 else "", c) for i, c in enumerate(_chunks(recalls))]
    tables = []
    for subject, chunk in chunks:
        best = {metric: best_models(comparison, metric) for metric in chunk}
        rows = []
        for model in comparison.models:
            cells = []
            for metric in chunk:
                values = table.loc[model, metric]
                low, high = format_number(values["ci_low"]), format_number(values["ci_high"])
                cells.append(
                    {
                        "mean": format_number(values["mean"]),
                        "std": format_number(values["std"]) if np.isfinite(values["std"]) else "",
                        "interval": f"{low} to {high}" if np.isfinite(values["ci_low"]) else "",
                        "best": model in best[metric],
                    }
                )
            rows.append((model, cells))
        headings = [
            metric.removeprefix("recall[").removesuffix("]")
            if metric in recalls
            else heading(comparison, metric)
            for metric in chunk
        ]
        tables.append((subject, headings, rows))
    return tables


def _chunks(names: list[str]) -> list[list[str]]:
    """Deal columns into tables that are narrow enough, each about as wide as the others."""
    if not names:
        return []
    n_tables = -(-len(names) // _COLUMNS)
    return [part.tolist() for part in np.array_split(np.asarray(names, dtype=object), n_tables)]


def _test_rows(test: pd.DataFrame, bayes: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (model, reference), row in test.iterrows():
        beliefs = bayes.loc[(model, reference)]
        shares = [beliefs[key] for key in ("p_better", "p_equivalent", "p_worse")]
        limits = f"{format_number(row['ci_low'])} to {format_number(row['ci_high'])}"
        rows.append(
            {
                "model": model,
                "difference": format_number(row["difference"]),
                "interval": limits if np.isfinite(row["ci_low"]) else "",
                "t": format_number(row["t"], 2),
                "p": format_pvalue(row["pvalue"]),
                "p_holm": format_pvalue(row["p_holm"]),
                "effect": format_number(row["effect_size"], 2),
                "better": format_number(shares[0], 2),
                "same": format_number(shares[1], 2),
                "worse": format_number(shares[2], 2),
                "believed": bool(np.isfinite(shares).all()),
                "widths": [f"{100 * np.nan_to_num(share):.1f}" for share in shares],
            }
        )
    return rows


def _figures(
    comparison: ComparisonData, reference: str, rope: float, confidence_level: float
) -> list[dict[str, str]]:
    scored = any(gives_scores(comparison, name) for name in comparison.models)
    calibrated = any(gives_probabilities(comparison, name) for name in comparison.models)
    averaged = len(comparison.classes) > 2
    over = ", averaged over classes" if averaged else ""
    others = ", the other models are in grey" if len(comparison.models) > 1 else ""
    spread = f"Mean over folds; the band is one standard deviation{others}."
    pooled = comparison.is_pooled()
    n_folds, n_whole = len(comparison.splits.splits), comparison.n_whole_folds()
    lacking = (
        f" {n_whole} of {n_folds} folds hold every class and are shown."
        if n_whole < n_folds
        else ""
    )
    wanted: list[Wanted] = [
        (
            True,
            "Scores of pooled predictions" if pooled else "Scores fold by fold",
            f"Left: the pooled predictions of each round (dots) and their mean. Right: differences "
            f"from {reference}. Folds lack classes: there are no scores fold by fold. "
            "The shaded strip is the region of practical equivalence."
            if pooled
            else "Left: every fold (dots), mean and confidence interval. Right: paired differences "
            f"from {reference}, with p-values after Holm's correction; the shaded strip is the "
            "region of practical equivalence.",
            lambda: ScoreComparisonDisplay.from_comparison(
                comparison, reference=reference, rope=rope, confidence_level=confidence_level
            ),
        ),
        (
            scored,
            f"ROC curves{over}",
            f"{spread}{lacking}",
            partial(ROCComparisonDisplay.from_comparison, comparison),
        ),
        (
            scored,
            f"Precision-recall curves{over}",
            f"{spread}{lacking} The dotted line is what guessing gives.",
            partial(PrecisionRecallComparisonDisplay.from_comparison, comparison),
        ),
        (
            True,
            "Confusion matrices",
            "Pooled out-of-fold predictions; rows are true classes, the diagonal is recall.",
            partial(ConfusionComparisonDisplay.from_comparison, comparison),
        ),
        (
            calibrated,
            "Calibration",
            "Pooled out-of-fold probabilities in 15 bins; a calibrated model lies on the "
            "diagonal. ECE: expected calibration error of the pooled probabilities, which as a "
            "rule is less than the mean over folds above, since small samples look uncalibrated by "
            "chance.",
            partial(CalibrationComparisonDisplay.from_comparison, comparison),
        ),
    ]
    return draw_figures(comparison, wanted)


def _models(comparison: ComparisonData) -> list[tuple[str, str, str]]:
    times = comparison.times.groupby(level="model", sort=False).mean()
    mean = "" if comparison.splits.one_test_set else ", mean of folds"
    rows = []
    for name, estimator in comparison.estimators.items():
        fit, predict = times.loc[name]
        seconds = (
            "Failed."
            if np.isnan(fit)
            else f"{fit:.3g} s to fit and {predict:.3g} s to predict{mean}."
        )
        rows.append((name, repr(estimator), seconds))
    return rows


def _versions() -> str:
    import scipy
    import sklearn
    import statsmodels

    import skcyto

    packages = {
        "skcyto": skcyto,
        "scikit-learn": sklearn,
        "scipy": scipy,
        "statsmodels": statsmodels,
        "numpy": np,
        "pandas": pd,
    }
    listed = ", ".join(f"{name} {module.__version__}" for name, module in packages.items())
    return f"Made with {listed}."
