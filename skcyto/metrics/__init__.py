"""Scores for imbalanced classes, and scorers for ``scoring=``."""

from skcyto.metrics._classification import average_f1_score, recall_per_class
from skcyto.metrics._probabilistic import (
    expected_calibration_error,
    macro_average_precision_score,
    macro_roc_auc_score,
)
from skcyto.metrics._scorers import ClassScorer as ClassScorer
from skcyto.metrics._scorers import (
    get_scorer,
    get_scorer_names,
    get_scorers,
    make_recall_scorer,
)
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "average_f1_score",
    "expected_calibration_error",
    "get_scorer",
    "get_scorer_names",
    "get_scorers",
    "macro_average_precision_score",
    "macro_roc_auc_score",
    "make_recall_scorer",
    "recall_per_class",
]

# Saved models hold scorers under this name.
use_public_paths(__name__, globals(), [*__all__, "ClassScorer"])
