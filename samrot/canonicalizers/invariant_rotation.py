"""The canonicalizer of clouds whose vectors are weighed by invariants: R(Qx) = Q R(x)."""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from samrot.canonicalizers.vn_rotation import standardised, surroundings
from samrot.geometry.space import rotation_from_vectors

_EPS = 1e-12


class InvariantRotation(nn.Module):
    """Two equivariant vectors of a cloud, made a frame by Gram-Schmidt.

    Law: ``R(Qx) == Q R(x)`` for rotations Q; ``R`` does not depend on the order of the points, on
    where the cloud lies or on its size. Each point has a few vectors: where it lies, the ways to
    the means around it, and a cross product that tells the hands apart. Networks of their scalar
    products, which no rotation changes, weigh them: at each point, and again over the cloud.
    Directions that gates of vector neurons would have to learn are thereby free.

    Args:
        channels: vectors of the cloud.
        hidden: width of the networks.
        scales: means around each point, as in ``VNRotation``.
    Source: Kaba et al. 2023, section 3; Villar et al. 2021 (arXiv 2106.06610), proposition 3.
    """

    def __init__(self, channels: int = 16, hidden: int = 64, scales: int = 3) -> None:
        super().__init__()
        self.scales = scales
        self.of_points = Weights(2 + scales, channels, hidden)
        self.of_cloud = Weights(channels, 2, hidden)

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) to rotations, (B, 3, 3)."""
        places = standardised(clouds)
        offsets = surroundings(places, self.scales)
        # Smaller surroundings have means that are nearer.
        ways = [offset * 2.0**scale for scale, offset in enumerate(offsets)]
        spread = 3 * places.mT @ places / places.shape[1]
        vectors = torch.stack([places, *ways, torch.linalg.cross(places, places @ spread)], dim=2)
        pooled = self.of_points(vectors).mean(dim=1)
        sizes = pooled.square().sum(dim=2).mean(dim=1)[:, None, None]
        return rotation_from_vectors(self.of_cloud(pooled * (sizes + _EPS).rsqrt()))


class Weights(nn.Module):
    """Linear combinations of vectors, whose weights are a network of their scalar products.

    Args:
        num_vectors: K, vectors.
        num_sums: M, combinations.
        hidden: width of the network.
    """

    def __init__(self, num_vectors: int, num_sums: int, hidden: int) -> None:
        super().__init__()
        pairs = combinations_with_replacement(range(num_vectors), 2)
        self.rows, self.columns = map(list, zip(*pairs, strict=True))
        self.network = nn.Sequential(
            nn.Linear(len(self.rows), hidden), nn.LayerNorm(hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, num_sums * num_vectors),
            nn.Unflatten(-1, (num_sums, num_vectors)),
        )  # fmt: skip

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., K, 3) to (..., M, 3)."""
        products = (vectors @ vectors.mT)[..., self.rows, self.columns]
        weights = self.network(products.sign() * products.abs().log1p())
        return weights @ vectors
