"""Choose features inside the fold: by a model's importances, or by tests and correlations."""

from skcyto.feature_selection._importance_threshold_display import ImportanceThresholdDisplay
from skcyto.feature_selection._importance_threshold_selector import ImportanceThresholdSelector

__all__ = [
    "ImportanceThresholdDisplay",
    "ImportanceThresholdSelector",
]
