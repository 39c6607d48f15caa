"""Where the pose of a photo comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from samrot.geometry.pose import Pose


class PoseSource(Protocol):
    """Says how a photo is turned. A canonicalizer is one."""

    def estimate(self, image: np.ndarray) -> Pose:
        """The pose of a photo, (H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True)
class GivenPose:
    """A pose that is known, or taken for granted.

    Args:
        pose: pose of every photo; by default upright.
    """

    pose: Pose = field(default_factory=Pose)

    def estimate(self, image: np.ndarray) -> Pose:
        """See ``PoseSource``."""
        return self.pose


UPRIGHT = GivenPose()
