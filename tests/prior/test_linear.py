import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pops.prior.linear import PANEL, Linear


def compare(layer: Linear, x: Tensor) -> None:
    with torch.no_grad():
        wanted = F.linear(x, layer.weight, layer.bias)
        torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 9, 10, 64, 96, 97])
def test_any_number_of_rows_comes_out_as_one_product_gives(rows: int):
    compare(Linear(24, 3 * PANEL), torch.randn(rows, 24))


@pytest.mark.parametrize("out", [1, PANEL - 1, PANEL, 2 * PANEL])
def test_any_number_of_features_comes_out(out: int):
    compare(Linear(5, out), torch.randn(6, 5))


def test_leading_dimensions_are_kept():
    layer = Linear(5, PANEL)
    x = torch.randn(5, 3, 2, 7).transpose(0, 3)[..., :5]
    compare(layer, x)
    with torch.no_grad():
        assert layer(x).shape == (7, 3, 2, PANEL)


def test_its_outputs_feed_the_next():
    first, second = Linear(8, PANEL), Linear(PANEL, 2 * PANEL)
    with torch.no_grad():
        x = first(torch.randn(3, 2, 8))
    compare(second, x)


def test_other_number_formats_are_plain():
    layer = Linear(8, PANEL).bfloat16()
    x = torch.randn(6, 8, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_gradients_are_those_of_a_linear_layer():
    layer = Linear(8, PANEL)
    x = torch.randn(6, 8, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None and layer.weight.grad is not None
