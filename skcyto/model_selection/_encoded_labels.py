"""Say what helps classifiers that take the labels 0, 1, ... alone, as XGBoost's does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_COMPLAINT = re.compile(
    r"invalid classes|expected:? \[?0\b|target -?\d+ is out of bounds|numpy\.str_", re.IGNORECASE
)
_MAX_NAMED = 5


def explain_refused_labels(error: str, y: Any) -> str:
    """Name the remedy where a classifier seems to refuse labels for not being 0, 1, ...

    Returns
    -------
    hint : str
        Empty where labels are not what it complains of.
    """
    labels = np.unique(np.asarray(y)).tolist()
    if labels == list(range(len(labels))):
        return ""
    is_number_wanted = "could not convert string" in error and any(
        f"{label!r}" in error for label in labels
    )
    if not _COMPLAINT.search(error) and not is_number_wanted:
        return ""
    named = ", ".join(map(repr, labels[:_MAX_NAMED])) + (", ..." if labels[_MAX_NAMED:] else "")
    return (
        f"The labels of this training part are {named}. If the classifier takes 0, 1, ... alone, "
        "without a gap, wrap it in VotingClassifier([('model', classifier)], voting='soft') of "
        "sklearn.ensemble, which encodes the labels that it is fitted to and decodes predictions"
    )
