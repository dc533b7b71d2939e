"""Principal components of pictures or of parts of them."""

import torch
from torch import Tensor

__all__ = ["principal_components", "softened_components"]


def principal_components(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the principal components of some vectors.

    Args:
        rows: (N, D).

    Returns:
        The mean (D,); the variance along each component (D,), the largest first; and the
        components, the columns of (D, D), in the same order.
    """
    mean = rows.mean(0)
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    return mean, values.flip(0), vectors.flip(1)


def softened_components(rows: Tensor, count: int, least: float = 0.0) -> tuple[Tensor, Tensor]:
    """Find leading components, scaled so that no few of them outweigh the rest.

    Raw components are dominated by the first few, and whitened ones give grain as much weight as
    shape. These are between the two: their deviation is the square root of that of raw ones.

    Args:
        rows: (N, D).
        count: the number C of components.
        least: the least variance that a component is taken to have.

    Returns:
        The mean (D,), and the components (D, C), whose variance is 1 on average.
    """
    mean, values, vectors = principal_components(rows)
    values = values[:count]
    scale = values.clamp_min(least) ** -0.25
    scale = scale / (scale.square() * values).mean().sqrt()
    return mean, vectors[:, :count] * scale
