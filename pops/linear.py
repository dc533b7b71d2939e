"""A linear layer that is fast for few rows on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Linear"]

PANEL = 128  # output features in one matrix product: its weights stay in a core's cache
FEW_ROWS = range(4, 97)  # below, and above, one product over the whole weight is as fast


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed for few rows as many small products, one per panel of weights.

    With few rows nearly all the time goes into reading the weight. BLAS is made for squarer
    shapes: it repacks the whole weight on every call, or reads it more than once. A batch of
    products with the panels as their left factors reads it once, as it lies in memory. Same sums,
    rounded in another order. Used without gradients, in float32, on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out)."""
        rows = x.numel() // self.in_features
        if rows not in FEW_ROWS or not self._panelled(x):
            return super().forward(x)
        panels = self.weight.view(-1, PANEL, self.in_features)
        columns = x.reshape(rows, self.in_features).t().contiguous()
        y = torch.baddbmm(self.bias.view(-1, PANEL, 1), panels, columns.expand(len(panels), -1, -1))
        return y.view(self.out_features, rows).t().view(*x.shape[:-1], self.out_features)

    def _panelled(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and self.out_features % PANEL == 0
            and self.bias is not None
            and not torch.is_grad_enabled()
        )
