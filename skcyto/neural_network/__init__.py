"""Neural networks for imbalanced classes."""

from skcyto.neural_network._samplers import (
    BalancedSampler,
    GroupedBatchSampler,
    StratifiedBatchSampler,
)

__all__ = ["BalancedSampler", "GroupedBatchSampler", "StratifiedBatchSampler"]
