"""Describe a model in Markdown, for those who use it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skcyto.persistence._card._candidate import choose_candidate
from skcyto.persistence._card._model import describe_loss, describe_prior, describe_steps
from skcyto.persistence._card._results import (
    calibration_section,
    data_section,
    explanation_section,
    external_sections,
    folds_section,
    known_limits,
    scores_section,
)
from skcyto.persistence._versions import installed_versions

if TYPE_CHECKING:
    from skcyto.inspection import Explanation
    from skcyto.model_selection import ModelComparison

_UNSTATED = "_Not stated by the authors of this model._"
_USE = """\
```python
import skcyto

model = skcyto.load("path/of/this/folder")
model.predict(images)
```

or, for a table of predictions, `python -m skcyto predict path/of/this/folder IMAGES --output \
table.csv`."""


class _Card(str):
    """Markdown that notebooks show as a page."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def model_card(
    pipeline: BaseEstimator,
    comparison: ModelComparison | None = None,
    explanation: Explanation | None = None,
    *,
    candidate: str | None = None,
    title: str | None = None,
    data: str | None = None,
    intended_use: str | None = None,
    limits: str | None = None,
    confidence_level: float = 0.95,
    top: int = 10,
    path: str | os.PathLike[str] | None = None,
) -> str:
    """Write a model card: what a model is, how well it does, and what it is not for.

    Everything that can be read from the objects is read from them, and what follows from it as a
    limit (few cases of a class, no groups, re-weighted probabilities) is said without being asked.
    What only people know, the purpose above all, is for them to state; the card says where they
    have not.

    Parameters
    ----------
    pipeline : estimator
        The fitted model.
    comparison : ModelComparison or None, default=None
        Validation of the model, perhaps among others: gives data, classes and counts, folds,
        scores with intervals, calibration, and the same on every external set.
    explanation : Explanation or None, default=None
        Shapley values: gives the most important features.
    candidate : str or None, default=None
        Name of the model in `comparison`. None takes the one that has the parameters of
        `pipeline`.
    title : str or None, default=None
        Heading; None names the estimators.
    data : str or None, default=None
        Where the data come from: site, scanner, stain, years, licence.
    intended_use : str or None, default=None
        What the model is for, by whom, on which images.
    limits : str or None, default=None
        Where it must not be used, and what is known to go wrong.
    confidence_level : float, default=0.95
        Coverage of the intervals.
    top : int, default=10
        Number of features of `explanation` to name.
    path : str, path or None, default=None
        File to write the card to as well. To have it in a saved model, give the text to
        :func:`save` as `card`.

    Returns
    -------
    card : str
        In Markdown, which notebooks show as a page.

    Raises
    ------
    ValueError
        If it is not clear which model of `comparison` is meant, or it has other classes or
        parameters than `pipeline`, whose scores would then be those of another model: the message
        lists them. Seeds and settings of a machine, such as `n_jobs`, are not compared. Where the
        candidate is a search and `pipeline` its ``best_estimator_``, what was searched may have
        any value that the search could give it.

    See Also
    --------
    save : Save a model, with its card.

    References
    ----------
    M. Mitchell et al., "Model cards for model reporting", Conference on Fairness, Accountability
    and Transparency, 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> import skcyto
    >>> from skcyto.model_selection import compare_models
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500).fit(X, y)
    >>> comparison = compare_models({"logistic": model}, X, y, cv=3, random_state=0)
    >>> card = skcyto.model_card(model, comparison, intended_use="To tell irises apart.")
    >>> [line for line in card.splitlines() if line.startswith("## ")][:5]
    ['## Intended use', '## Limits', '## Data', '## Folds', '## Scores']
    """
    check_is_fitted(pipeline)
    name = None if comparison is None else choose_candidate(comparison, pipeline, candidate)
    steps = getattr(pipeline, "steps", None) or [("", pipeline)]
    kinds = [step if isinstance(step, str) else type(step).__name__ for _, step in steps]
    sections: list[tuple[str, str]] = [
        ("Intended use", intended_use or _UNSTATED),
        ("Limits", _limits(limits, known_limits(pipeline, comparison, name, explanation))),
        ("Data", data_section(pipeline, comparison, data or _UNSTATED)),
    ]
    if comparison is not None and name is not None:
        sections += [
            (
                "Validation" if comparison.splits.one_test_set else "Folds",
                folds_section(comparison),
            ),
            ("Scores", scores_section(comparison, name, confidence_level)),
            ("Calibration", calibration_section(comparison, name)),
            *external_sections(comparison, name, confidence_level),
        ]
    sections += [
        ("Loss", describe_loss(pipeline)),
        ("Prior and decision", describe_prior(pipeline)),
        ("Model", describe_steps(pipeline)),
    ]
    if explanation is not None:
        sections.append(("Features", explanation_section(explanation, confidence_level, top)))
    sections.append(("Use", f"{_USE}\n\n{_versions()}"))
    body = "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in sections)
    card = f"# {title or ', '.join(kinds)}\n\n{body}\n"
    if path is not None:
        Path(path).write_text(card, encoding="utf-8")
    return _Card(card)


def _limits(stated: str | None, known: list[str]) -> str:
    found = "\n".join(f"- {limit}" for limit in known)
    return f"{stated or _UNSTATED}\n\nWhat follows from how the model was made:\n\n{found}"


def _versions() -> str:
    versions = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    today = datetime.now(UTC).date().isoformat()
    return f"This card was written on {today} with {versions}."
