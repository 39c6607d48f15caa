"""A network behind a canonicalizer as one module, for training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from samrot.errors import check_choice
from samrot.robust.points import walk_points
from samrot.robust.straight_through import walk_images

# Inputs, poses and network to the network's result.
Walk = Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]
# Task -> the differentiable way through, behind a canonicalizer's network.
WALKS: dict[str, Callable[[Any], Walk]] = {
    "pointcloud": lambda _: walk_points,
    "classification": lambda canonicalizer: partial(walk_images, group=canonicalizer.group),
}


class CanonicalizedModule(nn.Module):
    """A network that works in the canonical frame; the gradient reaches the canonicalizer.

    Args:
        network: what is made robust.
        canonicalizer_network: inputs to poses. For clouds, (B, N, 3) to rotations, (B, 3, 3); for
            images, (B, 3, S, S) to logits, (B, |G|), with the ``group`` as an attribute: a
            ``Canonicalizer``, or any module that obeys the law.
        task: classification or pointcloud.

    Raises:
        InputError: if the task is unknown.
    """

    def __init__(self, network: nn.Module, canonicalizer_network: nn.Module, task: str) -> None:
        super().__init__()
        check_choice("task", task, WALKS)
        self.network = network
        self.canonicalizer = canonicalizer_network
        self.walk = WALKS[task](canonicalizer_network)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The network's result, and the poses, for a prior loss."""
        poses = self.canonicalizer(inputs)
        return self.walk(inputs, poses, self.network), poses
