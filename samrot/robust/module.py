"""A network behind a canonicalizer as one module, for training."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from samrot.errors import check_choice
from samrot.robust.points import walk_points

# Task -> the differentiable way through: inputs, poses and network to the network's result.
WALKS: dict[str, Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]] = {
    "pointcloud": walk_points
}


class CanonicalizedModule(nn.Module):
    """A network that works in the canonical frame; the gradient reaches the canonicalizer.

    Args:
        network: what is made robust.
        canonicalizer_network: inputs to poses; for clouds, (B, N, 3) to rotations, (B, 3, 3).
        task: pointcloud.

    Raises:
        InputError: if the task is unknown.
    """

    def __init__(self, network: nn.Module, canonicalizer_network: nn.Module, task: str) -> None:
        super().__init__()
        check_choice("task", task, WALKS)
        self.network = network
        self.canonicalizer = canonicalizer_network
        self.walk = WALKS[task]

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The network's result, and the poses, for a prior loss."""
        poses = self.canonicalizer(inputs)
        return self.walk(inputs, poses, self.network), poses
