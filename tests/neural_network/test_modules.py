"""The head that LDAM expects."""

import pytest
import torch
from torch.nn import functional as F

from skcyto.neural_network._modules import CosineLinear


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str
)
def test_cosine_head_is_the_product_of_normalised_vectors(dtype, rtol):
    torch.manual_seed(0)
    head = CosineLinear(15, 7).to(dtype)
    # Lengths from 1e-3 to 1e3: a cosine knows nothing of them.
    scale = torch.logspace(-3, 3, 40, dtype=dtype).unsqueeze(1)
    x = (scale * torch.randn(40, 15, dtype=dtype)).requires_grad_()
    cosines = head(x)
    expected = F.linear(F.normalize(x, dim=1), F.normalize(head.weight, dim=1))
    torch.testing.assert_close(cosines, expected, rtol=rtol, atol=rtol)
    step = torch.randn(40, 7, dtype=dtype)
    found = torch.autograd.grad((cosines * step).sum(), (x, head.weight), retain_graph=True)
    wanted = torch.autograd.grad((expected * step).sum(), (x, head.weight))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * rtol, atol=10 * rtol)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_row_of_zeros_has_cosine_zero_and_finite_gradients(dtype):
    head = CosineLinear(15, 3).to(dtype)
    x = torch.randn(5, 15, dtype=dtype)
    x[2] = 0
    x.requires_grad_()
    cosines = head(x)
    assert cosines[2].tolist() == [0, 0, 0]
    gradients = torch.autograd.grad(cosines.sum(), (x, head.weight))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert gradients[1].abs().max() < 10
