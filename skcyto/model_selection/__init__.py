"""Comparison and search under cross-validation."""

from skcyto.model_selection._comparison import compare_models
from skcyto.model_selection._comparison_calibration import CalibrationComparisonDisplay
from skcyto.model_selection._comparison_confusion import ConfusionComparisonDisplay
from skcyto.model_selection._comparison_curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._comparison_ranks import CriticalDifferenceDisplay
from skcyto.model_selection._comparison_result import ModelComparison
from skcyto.model_selection._comparison_scores import ScoreComparisonDisplay
from skcyto.model_selection._logit_bias import TunedLogitBiasClassifierCV
from skcyto.model_selection._optuna_search import OptunaSearchCV
from skcyto.model_selection._splits import RepeatedStratifiedGroupKFold
from skcyto.model_selection._statistics_delong import delong_test
from skcyto.model_selection._statistics_folds import (
    bayesian_correlated_ttest,
    corrected_resampled_ttest,
)
from skcyto.model_selection._statistics_pooled import bootstrap_by_group, mcnemar_test
from skcyto.model_selection._statistics_ranks import friedman_nemenyi_test
from skcyto.model_selection._suggest_space import suggest_space
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "CalibrationComparisonDisplay",
    "ConfusionComparisonDisplay",
    "CriticalDifferenceDisplay",
    "ModelComparison",
    "OptunaSearchCV",
    "PrecisionRecallComparisonDisplay",
    "ROCComparisonDisplay",
    "RepeatedStratifiedGroupKFold",
    "ScoreComparisonDisplay",
    "TunedLogitBiasClassifierCV",
    "bayesian_correlated_ttest",
    "bootstrap_by_group",
    "compare_models",
    "corrected_resampled_ttest",
    "delong_test",
    "friedman_nemenyi_test",
    "mcnemar_test",
    "suggest_space",
]

use_public_paths(__name__, globals(), __all__)
