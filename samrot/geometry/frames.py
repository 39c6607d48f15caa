"""How one image lies in its canonical frame, and what that does to all that lies on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from samrot.geometry import actions


@dataclass(frozen=True)
class CanonicalFrame:
    """How one image lies in its canonical frame.

    Args:
        pose: the image is the canonical one turned by pose x 90 degrees CCW.
        size_hw: of the image, in the user's frame.
        snapped: canonical coordinates are rounded to 1/64 px, so that all turns of a prompt agree.
    """

    pose: int
    size_hw: tuple[int, int]
    snapped: bool

    def canonical_image(self, image: np.ndarray) -> np.ndarray:
        """The image turned back by its pose, contiguous."""
        return actions.rotate_image(image, -self.pose)

    def canonical_boxes(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) from the user's frame."""
        return self._snap(actions.rotate_boxes(boxes_xyxy, -self.pose, self.size_hw))

    def canonical_points(self, points_xy: np.ndarray) -> np.ndarray:
        """Points (..., 2) from the user's frame."""
        return self._snap(actions.rotate_points(points_xy, -self.pose, self.size_hw))

    def canonical_planes(self, planes: Tensor) -> Tensor:
        """Masks or logits (..., H, W) from the user's frame."""
        return actions.rotate_tensor(planes, -self.pose)

    def user_boxes(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) from the canonical frame."""
        canonical_size = actions.rotate_size(self.size_hw, self.pose)
        return actions.rotate_boxes(boxes_xyxy, self.pose, canonical_size)

    def user_planes(self, planes: Tensor) -> Tensor:
        """Masks or logits (..., H, W) from the canonical frame."""
        return actions.rotate_tensor(planes, self.pose)

    def _snap(self, coordinates: np.ndarray) -> np.ndarray:
        return actions.snap_to_grid(coordinates) if self.snapped else coordinates
