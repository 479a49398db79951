"""Choose features inside the fold: by importances, tests and correlations, reproducibility."""

from skcyto.feature_selection._correlation_ttest_filter import CorrelationTTestFilter
from skcyto.feature_selection._importance_threshold_selector import ImportanceThresholdSelector
from skcyto.feature_selection._plot._correlation_heatmap import CorrelationHeatmapDisplay
from skcyto.feature_selection._plot._feature_correlation import FeatureCorrelationDisplay
from skcyto.feature_selection._plot._feature_pvalue import FeaturePValueDisplay
from skcyto.feature_selection._plot._importance_threshold import ImportanceThresholdDisplay
from skcyto.feature_selection._reproducibility_filter import ReproducibilityFilter
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "CorrelationHeatmapDisplay",
    "CorrelationTTestFilter",
    "FeatureCorrelationDisplay",
    "FeaturePValueDisplay",
    "ImportanceThresholdDisplay",
    "ImportanceThresholdSelector",
    "ReproducibilityFilter",
]

use_public_paths(__name__, globals(), __all__)
