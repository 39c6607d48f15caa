"""Vector neurons: layers that turn as their input turns (Deng et al. 2021, arXiv 2104.12229).

A feature is a vector in space: (B, C, 3, N) holds C of them for each of N points. Law of every
layer: turning the input by Q, which acts on the third axis, turns the output by Q.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_EPS = 1e-12


class VNLinear(nn.Module):
    """Linear combinations of the vectors of each point; a bias would have a direction."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        nn.init.normal_(self.weight, std=1 / math.sqrt(in_channels))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, in_channels, 3, N) to (B, out_channels, 3, N)."""
        return (self.weight @ vectors.flatten(2)).unflatten(2, (3, -1))


class VNLeakyReLU(nn.Module):
    """What of a vector points against its learned direction is scaled down.

    Args:
        channels: number of vectors.
        slope: by how much.
    """

    def __init__(self, channels: int, slope: float = 0.2) -> None:
        super().__init__()
        self.direction = VNLinear(channels, channels)
        self.slope = slope

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, C, 3, N) to the same."""
        directions = self.direction(vectors)
        along = (vectors * directions).sum(dim=2, keepdim=True).clamp(max=0.0)
        length = (directions**2).sum(dim=2, keepdim=True) + _EPS
        return vectors - (1 - self.slope) * along / length * directions


class VNNorm(nn.Module):
    """Vectors over the root mean square of their lengths in a cloud, with a gain for each channel.

    Lengths are invariant. There are no statistics of a batch, so that the law holds in training
    too.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, C, 3, N) to the same."""
        mean_square = (vectors**2).sum(dim=2).mean(dim=(1, 2))[:, None, None, None]
        return vectors * (self.gain * (mean_square + _EPS).rsqrt())


class VNMaxPool(nn.Module):
    """Of each channel the vector, over the points, that reaches furthest along its direction."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.direction = VNLinear(channels, channels)

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, C, 3, N) to (B, C, 3, 1)."""
        reach = (vectors * self.direction(vectors)).sum(dim=2, keepdim=True)
        furthest = reach.argmax(dim=-1, keepdim=True).expand(-1, -1, 3, -1)
        return vectors.gather(-1, furthest)


class VNMeanPool(nn.Module):
    """Mean over the points."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, C, 3, N) to (B, C, 3, 1)."""
        return vectors.mean(dim=-1, keepdim=True)


class VNBlock(nn.Sequential):
    """Linear, norm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            VNLinear(in_channels, out_channels), VNNorm(out_channels), VNLeakyReLU(out_channels)
        )
