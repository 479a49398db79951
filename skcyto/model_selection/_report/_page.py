"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skcyto.model_selection._report._figures import draw_figures
from skcyto.model_selection._report._one_set import one_set_part
from skcyto.model_selection._report._pooled import pooled_tables
from skcyto.model_selection._report._tables import best_models, caption, list_failures, score_tables
from skcyto.model_selection._results._data import ComparisonData, check_reference
from skcyto.model_selection._results._fold_tests import (
    bayesian_tests,
    fold_tests,
    without_variance,
)
from skcyto.model_selection._results._table import score_table
from skcyto.model_selection._results._wording import format_number, format_pvalue


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
    part: dict[str, Any] = {"sentences": []}
    folds = not comparison.splits.one_test_set
    if folds:
        part = _fold_part(comparison, reference, rope, confidence_level, n_resamples)
    part["sentences"] += _more_sentences(comparison, reference, first if stands_in else "")
    page = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader(__package__, "templates"),
    ).get_template("page.html")
    sets = list(comparison.external.values()) if folds else [comparison]
    text = page.render(
        title=title,
        facts=_facts(comparison),
        failures=list_failures(comparison),
        folds=folds,
        several=len(comparison.models) > 1,
        sets=[
            one_set_part(each, reference, confidence_level, comparison if folds else None)
            for each in sets
        ],
        models=_models(comparison),
        versions=_versions(),
        **part,
    )
    Path(path).write_text(text, encoding="utf-8")


def _fold_part(
    comparison: ComparisonData,
    reference: str,
    rope: float,
    confidence_level: float,
    n_resamples: int,
) -> dict[str, Any]:
    """Return what the template shows of a cross-validation."""
    metric = comparison.primary_metric
    # A score of pooled predictions has no tests over folds; the caption says why.
    is_pooled = comparison.is_pooled(metric)
    test = bayes = pd.DataFrame()
    if not is_pooled:
        test = fold_tests(comparison, reference, metric, confidence_level)
        bayes = bayesian_tests(comparison, reference, metric, rope)
    several = len(comparison.models) > 1
    return {
        "sentences": _sentences(comparison, reference, test, bayes, confidence_level, rope),
        "score_note": caption(comparison, confidence_level),
        "score_tables": score_tables(comparison, confidence_level),
        "metric_title": comparison.measures[metric].title,
        "reference": reference,
        "tests": _test_rows(test, bayes),
        "df": int(test["df"].max()) if several and not is_pooled else 0,
        "confidence_level": f"{confidence_level:.0%}",
        "rope": f"{rope:g}",
        "figures": draw_figures(comparison, reference, rope, confidence_level),
        "pooled": pooled_tables(comparison, reference, confidence_level, n_resamples)
        if several
        else [],
        "is_pooled": is_pooled,
    }


def _more_sentences(comparison: ComparisonData, reference: str, failed: str) -> list[str]:
    sentences = []
    if failed and len(comparison.models) > 1:
        sentences.append(
            f"The first candidate, {failed}, was to be the reference and failed. Differences on "
            f"this page are from {reference}, the first that succeeded, which nobody chose for it."
        )
    if comparison.external:
        sentences.append(
            "These are scores of cross-validation. Below there is external validation on "
            f"{', '.join(comparison.external)}."
        )
    return sentences


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
    row = table.loc[best[0]]
    several = len(comparison.models) > 1
    if comparison.is_pooled(metric):
        sentences = [
            f"Best {title} of pooled predictions: {' and '.join(best)}, "
            f"{format_number(row['mean'])}."
        ]
        if several:
            sentences.append(
                f"Folds lack classes, so that {title} has no test over folds; the tests on pooled "
                "predictions below say what can be said."
            )
        return sentences
    interval = (
        f"{confidence_level:.0%} confidence interval {format_number(row['ci_low'])} to "
        f"{format_number(row['ci_high'])}"
        if np.isfinite(row["ci_low"])
        else "no interval, since nothing is known of how it varies"
    )
    which = f"Best mean {title}" if several else f"Mean {title}"
    sentences = [f"{which}: {' and '.join(best)}, {format_number(row['mean'])} ({interval})."]
    sentences += _test_sentences(title, reference, test, 1 - confidence_level)
    pair = (best[0], reference)
    if test["pvalue"].notna().any() and pair in bayes.index:
        sentences += _bayes_sentences(comparison, pair, bayes.loc[pair], rope)
    return sentences


def _test_sentences(title: str, reference: str, test: pd.DataFrame, alpha: float) -> list[str]:
    sentences = [
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
    number = f"corrected for {len(test)} comparison{'s' if len(test) > 1 else ''}"
    level = f"at the {alpha:.0%} level"
    found = test.index[test["p_holm"] < alpha].get_level_values("model").tolist()
    if found:
        sentences.append(
            f"Different from {reference} in {title} {level}, {number}: {', '.join(found)}."
        )
    else:
        sentences.append(
            f"No model was found to differ from {reference} in {title} {level}, {number}."
        )
    return sentences


def _bayes_sentences(
    comparison: ComparisonData, pair: tuple[str, str], row: pd.Series, rope: float
) -> list[str]:
    if not np.isfinite(row["p_better"]):
        return []
    return [
        f"{pair[0]} is better than {pair[1]} by more than {rope:g} with probability "
        f"{row['p_better']:.2f}, practically equivalent with {row['p_equivalent']:.2f}, worse "
        f"with {row['p_worse']:.2f}. It was picked as the best of {len(comparison.models)}, "
        "which flatters it."
    ]


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
