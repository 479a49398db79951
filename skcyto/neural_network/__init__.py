"""Neural networks for imbalanced classes."""

from skcyto.neural_network._mlp._classifier import ImbalancedMLPClassifier
from skcyto.neural_network._samplers import (
    BalancedSampler,
    GroupedBatchSampler,
    StratifiedBatchSampler,
)
from skcyto.neural_network._transformer._classifier import EVA02Classifier
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "BalancedSampler",
    "EVA02Classifier",
    "GroupedBatchSampler",
    "ImbalancedMLPClassifier",
    "StratifiedBatchSampler",
]

use_public_paths(__name__, globals(), __all__)
