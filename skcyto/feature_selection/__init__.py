"""Choose features inside the fold: by a model's importances, or by tests and correlations."""

from skcyto.feature_selection._correlation_heatmap_display import CorrelationHeatmapDisplay
from skcyto.feature_selection._correlation_ttest_filter import CorrelationTTestFilter
from skcyto.feature_selection._feature_correlation_display import FeatureCorrelationDisplay
from skcyto.feature_selection._feature_pvalue_display import FeaturePValueDisplay
from skcyto.feature_selection._importance_threshold_display import ImportanceThresholdDisplay
from skcyto.feature_selection._importance_threshold_selector import ImportanceThresholdSelector
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "CorrelationHeatmapDisplay",
    "CorrelationTTestFilter",
    "FeatureCorrelationDisplay",
    "FeaturePValueDisplay",
    "ImportanceThresholdDisplay",
    "ImportanceThresholdSelector",
]

use_public_paths(__name__, globals(), __all__)
