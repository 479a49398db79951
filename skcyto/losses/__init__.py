"""Imbalance losses."""

from skcyto.losses._base import Loss
from skcyto.losses._criterion import Criterion
from skcyto.losses._cross_entropy import CrossEntropy, WeightedCrossEntropy
from skcyto.losses._focal import ClassBalanced, Focal, Poly1
from skcyto.losses._logit_adjustment import BalancedSoftmax, LogitAdjusted, VectorScaling
from skcyto.losses._margin import LDAM
from skcyto.losses._registry import available, get_loss
from skcyto.losses._soft_f1 import SoftF1
from skcyto.losses._weights import compute_class_weight
from skcyto.losses._worst_case import CVaR, GroupDRO, Minimax
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "LDAM",
    "BalancedSoftmax",
    "CVaR",
    "ClassBalanced",
    "Criterion",
    "CrossEntropy",
    "Focal",
    "GroupDRO",
    "LogitAdjusted",
    "Loss",
    "Minimax",
    "Poly1",
    "SoftF1",
    "VectorScaling",
    "WeightedCrossEntropy",
    "available",
    "compute_class_weight",
    "get_loss",
]

use_public_paths(__name__, globals(), __all__)
