"""The networks that skcyto trains on tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


# Added to the product of two lengths, whose last digit it does not reach.
_LEAST_LENGTH = 1e-20


class CosineLinear(nn.Module):
    """Last layer whose logits are cosines between the features and a weight vector a class.

    The head that the LDAM loss expects: its margins are meant for logits between -1 and 1, which
    the loss scales itself.

    Parameters
    ----------
    in_features : int
        Width of the layer before.
    out_features : int
        Number of classes.

    References
    ----------
    Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019, section 3.2.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the cosines, shape (n, out_features)."""
        # Dividing the products by both lengths takes two thirds of the operations that
        # normalising features and weights beforehand takes. A row of zeros, which a ReLU may
        # leave, has cosine zero.
        length = torch.addcmul(
            x.new_full((), _LEAST_LENGTH),
            torch.linalg.vector_norm(x, dim=1, keepdim=True),
            torch.linalg.vector_norm(self.weight, dim=1),
        )
        return F.linear(x, self.weight) / length


class MLPModule(nn.Sequential):
    """Fully connected network: blocks of Linear, BatchNorm, activation and Dropout, then a head.

    Parameters
    ----------
    n_features : int
        Width of the input.
    n_classes : int
        Number of logits.
    hidden_layer_sizes : sequence of int
        Width of each hidden layer; empty for a linear model.
    activation : str, default="relu"
        A name of ``ACTIVATIONS``.
    batch_norm : bool, default=True
        Normalise each hidden layer over the batch before its activation.
    dropout : float, default=0.0
        Probability of dropping a hidden unit.
    cosine_head : bool, default=False
        Use :class:`CosineLinear` as the last layer.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        hidden_layer_sizes: Sequence[int],
        *,
        activation: str = "relu",
        batch_norm: bool = True,
        dropout: float = 0.0,
        cosine_head: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        width = n_features
        for size in hidden_layer_sizes:
            # The shift of a normalised layer is the batch norm's own.
            layers.append(nn.Linear(width, size, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(size))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        head = CosineLinear if cosine_head else nn.Linear
        layers.append(head(width, n_classes))
        super().__init__(*layers)
