"""What the tests of explanations share."""

from math import factorial

import numpy as np
import pytest
from sklearn.datasets import make_classification

from skcyto.neural_network import ImbalancedMLPClassifier


@pytest.fixture(scope="session")
def exact_shapley():
    """Shapley values by their definition, over all coalitions; for some ten features at most."""

    def compute(function, x, background, weights=None):
        n = len(x)
        weights = np.full(len(background), 1 / len(background)) if weights is None else weights
        masks = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(bool)
        rows = np.where(masks[:, None, :], x, background[None]).reshape(-1, n)
        outputs = np.asarray(function(rows), dtype=np.float64).reshape(2**n, len(background), -1)
        value = np.einsum("b,cbd->cd", weights, outputs)
        size = masks.sum(axis=1)
        values = []
        for j in range(n):
            without = np.flatnonzero(~masks[:, j])
            share = np.array(
                [factorial(s) * factorial(n - s - 1) / factorial(n) for s in size[without]]
            )
            values.append(share @ (value[without + (1 << j)] - value[without]))
        return np.array(values)

    return compute


@pytest.fixture(scope="session")
def three_classes():
    """Ten features of three classes."""
    return make_classification(400, 10, n_informative=6, n_classes=3, random_state=0)


@pytest.fixture(scope="session")
def network(three_classes):
    """A fitted network on them."""
    return ImbalancedMLPClassifier((32,), max_epochs=30, random_state=0).fit(*three_classes)
