"""A linear layer that is fast for few rows on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Linear"]

PANEL = 64  # output features in one matrix product: its weights stay in a core's cache
SLIVER = 16  # the same where the rows are the left factors
VERY_FEW_ROWS = range(4, 10)  # with fewer, one product over the whole weight is as fast
FEW_ROWS = range(10, 97)  # and so it is with more


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed for few rows as many small products, one per panel of weights.

    With few rows nearly all the time goes into reading the weight. BLAS is made for squarer
    shapes: it repacks the whole weight on every call, or reads it more than once. A batch of
    products, one a panel, reads it once, as it lies in memory; which factor is on the left is what
    was measured to be faster. Same sums, rounded in another order. Used without gradients, in
    float32, on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out)."""
        rows = x.numel() // self.in_features
        if not self._panelled(x):
            return super().forward(x)
        if rows in VERY_FEW_ROWS:
            return self._rows_by_slivers(x.reshape(rows, -1)).view(*x.shape[:-1], -1)
        if rows in FEW_ROWS:
            return self._panels_by_columns(x.reshape(rows, -1)).view(*x.shape[:-1], -1)
        return super().forward(x)

    def _rows_by_slivers(self, x: Tensor) -> Tensor:
        slivers = self.weight.view(-1, SLIVER, self.in_features).transpose(1, 2)
        rows = x.contiguous().expand(len(slivers), -1, -1)
        y = torch.baddbmm(self.bias.view(-1, 1, SLIVER), rows, slivers)
        return y.transpose(0, 1).flatten(1)

    def _panels_by_columns(self, x: Tensor) -> Tensor:
        panels = self.weight.view(-1, PANEL, self.in_features)
        columns = x.t().contiguous().expand(len(panels), -1, -1)
        y = torch.baddbmm(self.bias.view(-1, PANEL, 1), panels, columns)
        return y.flatten(0, 1).t()

    def _panelled(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and self.out_features % PANEL == 0
            and self.bias is not None
            and not torch.is_grad_enabled()
        )
