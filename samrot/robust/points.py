"""The way through for clouds: rotation, cloud moved, network; nothing is moved back.

Scores of a cloud, and labels of its points in their order, are the same in every frame.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from samrot.geometry.space import move_points


def walk_points(clouds: Tensor, rotations: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Run a network on the canonical clouds.

    Args:
        clouds: (B, N, 3).
        rotations: (B, 3, 3), each what brought its cloud from the canonical frame.
        network: (B, N, 3) to scores, of clouds or of points.
    """
    return network(move_points(clouds, rotations.mT))
