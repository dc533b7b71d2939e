"""Layers whose weights are whole numbers of 8 bits, with a scale for each of their outputs.

They take a quarter of the memory of float32. Only weights are rounded: they are multiplied by their
scales when a layer is used, and the layer computes in the number format of its input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Int8Conv2d", "Int8Linear", "round_to_int8"]

LARGEST = 127  # so that the range is the same on both sides of zero
PANEL = 128  # outputs whose weights are widened together on a CPU: they stay in a core's cache
FEW_ROWS = 256  # with more, computing takes longer than reading weights
WORTHWHILE = 1024  # numbers of the smallest weight that is rounded


class Int8Linear(nn.Linear):
    """A linear layer whose weight (out, in) is held in 8 bits, and a scale (out, 1) beside it.

    Args:
        layer: The layer whose weight is rounded; its bias stays as it is.
    """

    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        _round(layer, self)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: Numbers (..., in).

        Returns:
            Numbers (..., out).
        """
        rows = x.numel() // self.in_features
        plain = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if plain and x.device.type == "cpu" and rows <= FEW_ROWS:
            return self._by_panels(x.reshape(rows, -1)).view(*x.shape[:-1], -1)
        return F.linear(x, self.weight * self.scale, self.bias)

    def _by_panels(self, x: Tensor) -> Tensor:
        """Widen a few outputs' weights at a time, so that memory is read in 8 bits."""
        y = x.new_empty(len(x), self.out_features)
        panel = x.new_empty(PANEL, self.in_features)
        for start in range(0, self.out_features, PANEL):
            weight = self.weight[start : start + PANEL]
            torch.mul(weight, self.scale[start : start + PANEL], out=panel[: len(weight)])
            torch.mm(x, panel[: len(weight)].t(), out=y[:, start : start + PANEL])
        return y if self.bias is None else y.add_(self.bias)


class Int8Conv2d(nn.Conv2d):
    """A convolution whose weight (out, in, h, w) is held in 8 bits, and a scale (out, 1, 1, 1).

    Args:
        layer: The layer whose weight is rounded; its bias stays as it is.
    """

    scale: Tensor

    def __init__(self, layer: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        own = {name: value for name, value in vars(layer).items() if name not in vars(self)}
        self.__dict__.update(own)  # its numbers of channels, its stride, its padding
        _round(layer, self)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            input: Numbers (N, in, height, width).

        Returns:
            Numbers (N, out, height, width).
        """
        return self._conv_forward(input, self.weight * self.scale, self.bias)


KINDS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Linear: Int8Linear,
    nn.Conv2d: Int8Conv2d,
}


def round_to_int8(model: nn.Module) -> None:
    """Hold the weights of a frozen model's blocks in 8 bits, in place.

    Linear layers and convolutions within lists of modules are rounded. The layers at the ends of
    the model, which read its inputs and write its outputs, are not, and neither are small ones.

    Args:
        model: The model, in the number format that it computes in.
    """
    blocks = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    for part in {id(part): part for block in blocks for part in block.modules()}.values():
        for name, layer in list(part.named_children()):
            kind = next((KINDS[base] for base in type(layer).__mro__ if base in KINDS), None)
            weight = getattr(layer, "weight", torch.empty(0))
            if kind and weight.numel() >= WORTHWHILE and weight.is_floating_point():
                setattr(part, name, kind(layer))


def _round(layer: nn.Linear | nn.Conv2d, held: nn.Linear | nn.Conv2d) -> None:
    """Give a layer the weight of another, rounded to 127 steps on each side of zero."""
    weight = layer.weight.detach()
    largest = weight.abs().flatten(1).amax(1).view(-1, *[1] * (weight.dim() - 1))
    # Whole numbers are found for the scale as it is held, so that its own rounding does no harm.
    scale = (largest.float() / LARGEST).to(weight.dtype)
    steps = weight.float() / torch.where(scale > 0, scale, torch.ones_like(scale)).float()
    held.register_buffer("weight", steps.round().clamp(-LARGEST, LARGEST).to(torch.int8))
    held.register_buffer("scale", scale)
    held.bias = layer.bias
