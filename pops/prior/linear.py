"""A linear layer that is fast for few rows on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Linear", "linear"]

PANEL = 64  # output features in one matrix product: its weights stay in a core's cache
SLIVER = 16  # the same where the rows are the left factors
VERY_FEW_ROWS = range(4, 10)  # with fewer, one product over the whole weight is as fast
FEW_ROWS = range(10, 97)  # and so it is with more


class Linear(nn.Linear):
    """`torch.nn.Linear` whose products are computed by the function `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: Numbers (..., in).

        Returns:
            Numbers (..., out).
        """
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute x W^T + b; few rows on a CPU as many small products, one per panel of weights.

    With few rows nearly all the time goes into reading the weight. BLAS is made for squarer
    shapes: it repacks the whole weight on every call, or reads it more than once. A batch of
    products, one a panel, reads it once, as it lies in memory; which factor is on the left is what
    was measured to be faster. The sums are the same, rounded in another order. This is done
    without gradients, in float32, on a CPU.

    Args:
        x: Rows (..., in).
        weight: The weight (out, in).
        bias: The bias (out,), or None.

    Returns:
        Rows (..., out).
    """
    rows = x.numel() // weight.shape[1]
    if bias is not None and _panelled(x, weight):
        if rows in VERY_FEW_ROWS:
            return _rows_by_slivers(x.reshape(rows, -1), weight, bias).view(*x.shape[:-1], -1)
        if rows in FEW_ROWS:
            return _panels_by_columns(x.reshape(rows, -1), weight, bias).view(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)


def _rows_by_slivers(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    slivers = weight.view(-1, SLIVER, weight.shape[1]).transpose(1, 2)
    rows = x.contiguous().expand(len(slivers), -1, -1)
    y = torch.baddbmm(bias.view(-1, 1, SLIVER), rows, slivers)
    return y.transpose(0, 1).flatten(1)


def _panels_by_columns(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    panels = weight.view(-1, PANEL, weight.shape[1])
    columns = x.t().contiguous().expand(len(panels), -1, -1)
    y = torch.baddbmm(bias.view(-1, PANEL, 1), panels, columns)
    return y.flatten(0, 1).t()


def _panelled(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.shape[0] % PANEL == 0
        and not torch.is_grad_enabled()
    )
