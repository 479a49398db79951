"""Comparison and search under cross-validation."""

from skcyto.model_selection._comparison._compare_models import compare_models
from skcyto.model_selection._comparison._model_comparison import ModelComparison
from skcyto.model_selection._logit_bias._classifier import TunedLogitBiasClassifierCV
from skcyto.model_selection._plot._calibration import CalibrationComparisonDisplay
from skcyto.model_selection._plot._confusion import ConfusionComparisonDisplay
from skcyto.model_selection._plot._critical_difference import CriticalDifferenceDisplay
from skcyto.model_selection._plot._curves import (
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
)
from skcyto.model_selection._plot._scores import ScoreComparisonDisplay
from skcyto.model_selection._results._curves import CalibrationCurve
from skcyto.model_selection._results._records import FoldFailure
from skcyto.model_selection._search._optuna_search import OptunaSearchCV
from skcyto.model_selection._search._suggest_space import suggest_space
from skcyto.model_selection._splits import RepeatedStratifiedGroupKFold
from skcyto.model_selection._statistics._delong import DeLongResult, delong_test
from skcyto.model_selection._statistics._folds import (
    BayesianComparison,
    CorrectedTTestResult,
    bayesian_correlated_ttest,
    corrected_resampled_ttest,
)
from skcyto.model_selection._statistics._pooled import (
    BootstrapResult,
    McNemarResult,
    bootstrap_by_group,
    mcnemar_test,
)
from skcyto.model_selection._statistics._ranks import FriedmanNemenyiResult, friedman_nemenyi_test
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "BayesianComparison",
    "BootstrapResult",
    "CalibrationComparisonDisplay",
    "CalibrationCurve",
    "ConfusionComparisonDisplay",
    "CorrectedTTestResult",
    "CriticalDifferenceDisplay",
    "DeLongResult",
    "FoldFailure",
    "FriedmanNemenyiResult",
    "McNemarResult",
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
