"""The canonicalizer of clouds: a rotation R with R(Qx) = Q R(x), by vector neurons."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samrot.errors import check_choice
from samrot.geometry.space import rotation_from_vectors
from samrot.layers.vector_neurons import VNBlock, VNLinear, VNMaxPool, VNMeanPool

RADIUS = 0.6
POOLS = {"mean": VNMeanPool, "max": VNMaxPool}


class VNRotation(nn.Module):
    """Two equivariant vectors of a cloud, made a frame by Gram-Schmidt.

    Law: ``R(Qx) == Q R(x)`` for rotations Q; ``R`` does not depend on the order of the points, on
    where the cloud lies or on its size. What the network knows of the surroundings of a point is
    where their weighted mean lies. The weights fall off smoothly with distance: neighbours that are
    counted, as in Deng et al., would leave ties for rounding to break.

    Args:
        channels: vectors of each point.
        depth: blocks after the first; each sees the mean of the cloud beside the point.
        scales: surroundings of each point; the first has the radius ``RADIUS``, in root mean square
            radii of the cloud, and each next one half of it.
        pool: mean or max, over the points.
    Source: Kaba et al. 2023, section 3; Deng et al. 2021.
    """

    def __init__(
        self,
        channels: int = 32,
        depth: int = 2,
        scales: int = 3,
        pool: str = "mean",
    ) -> None:
        super().__init__()
        check_choice("canonicalizer options pool", pool, POOLS)
        self.scales = scales
        self.lift = VNBlock(1 + 2 * scales, channels)
        self.blocks = nn.ModuleList(VNBlock(2 * channels, channels) for _ in range(depth))
        self.pool = POOLS[pool](channels)
        self.head = nn.Sequential(VNBlock(channels, channels), VNLinear(channels, 2))

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) to rotations, (B, 3, 3)."""
        features = self.lift(self.surroundings(standardised(clouds)))
        for block in self.blocks:
            mean = features.mean(dim=-1, keepdim=True).expand_as(features)
            features = block(torch.cat([features, mean], dim=1))
        return rotation_from_vectors(self.head(self.pool(features))[..., 0])

    def surroundings(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) to (B, 1 + 2 S, 3, N): points, ways to the mean around them, cross products."""
        vectors = [clouds]
        for offsets in surroundings(clouds, self.scales):
            vectors += [offsets, torch.linalg.cross(clouds, offsets)]
        return torch.stack(vectors, dim=1).transpose(2, 3)


def surroundings(clouds: Tensor, scales: int) -> list[Tensor]:
    """From each point the way to the mean of those around it, (B, N, 3), at each scale.

    Args:
        clouds: (B, N, 3), standardised.
        scales: how many; the first has the radius ``RADIUS``, each next one half of it.
    """
    lengths = (clouds**2).sum(dim=2)
    squares = lengths[:, :, None] + lengths[:, None] - 2 * clouds @ clouds.mT
    weights = torch.exp(squares * (-0.5 / RADIUS**2))
    counted = torch.cat([clouds, torch.ones_like(clouds[..., :1])], dim=2)
    offsets = []
    for _ in range(scales):
        sums = weights @ counted
        offsets.append(sums[..., :3] / sums[..., 3:] - clouds)
        weights = weights.square().square()  # that of half the radius
    return offsets


class PrincipalAxes(nn.Module):
    """The principal axes of a cloud, without weights: z along the largest extent, x the next.

    The sign of each is that of its third moment. Clouds with two equal extents, or without skew,
    have no such frame, and get one that does not turn along.
    """

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) to rotations, (B, 3, 3)."""
        centred = standardised(clouds)
        _, axes = torch.linalg.eigh(centred.mT @ centred)
        signs = ((centred @ axes) ** 3).sum(dim=-2, keepdim=True).sign()
        axes = axes * torch.where(signs == 0, 1.0, signs)
        return rotation_from_vectors(axes[..., [2, 1]].mT)


def standardised(clouds: Tensor) -> Tensor:
    """Clouds, (B, N, 3), about their means, of root mean square radius 1; a single place is 0."""
    centred = clouds - clouds.mean(dim=1, keepdim=True)
    radii = centred.norm(dim=(1, 2))[:, None, None] / math.sqrt(clouds.shape[1])
    largest = clouds.detach().abs().amax(dim=(1, 2))[:, None, None]
    rounding = 8 * torch.finfo(clouds.dtype).eps * largest
    return torch.where(radii > rounding, centred / radii.clamp(min=1e-30), 0.0)
