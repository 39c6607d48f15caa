"""What a detector finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samrot.errors import InputError
from samrot.wording import counted


@dataclass(frozen=True)
class Detections:
    """What a detector finds in one image.

    Args:
        boxes_xyxy: (N, 4) float, pixels of the image the detector saw, continuous edges.
        scores: (N,) float.
        category_ids: (N,) int, ids of the dataset.
        masks: (N, H, W) bool, from a detector that segments too; None from one that does not.

    Raises:
        InputError: if the lengths or shapes disagree, or a box is not finite, or inverted.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes_xyxy = np.asarray(self.boxes_xyxy, dtype=np.float64)
        if boxes_xyxy.size == 0:
            boxes_xyxy = boxes_xyxy.reshape(0, 4)
        scores = np.asarray(self.scores, dtype=np.float64)
        category_ids = np.asarray(self.category_ids, dtype=np.int64)
        if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
            raise InputError(f"boxes_xyxy has shape {boxes_xyxy.shape}; expected (N, 4)")
        if scores.shape != (len(boxes_xyxy),) or category_ids.shape != (len(boxes_xyxy),):
            raise InputError(
                f"scores has shape {scores.shape} and category_ids {category_ids.shape}; "
                f"expected ({len(boxes_xyxy)},) for {counted(len(boxes_xyxy), 'box', 'boxes')}"
            )
        if not np.isfinite(boxes_xyxy).all() or not np.isfinite(scores).all():
            raise InputError("boxes_xyxy or scores holds NaN or infinity; expected finite numbers")
        inverted = (boxes_xyxy[:, 2:] < boxes_xyxy[:, :2]).any(axis=1)
        if inverted.any():
            raise InputError(
                f"box {boxes_xyxy[inverted][0].tolist()} is inverted; expected x0 <= x1 and "
                "y0 <= y1"
            )
        if self.masks is not None:
            masks = np.asarray(self.masks)
            if masks.dtype != bool:
                raise InputError(
                    f"masks has dtype {masks.dtype}; expected bool: compare to your threshold"
                )
            if masks.ndim != 3 or len(masks) != len(boxes_xyxy):
                raise InputError(
                    f"masks has shape {masks.shape}; expected ({len(boxes_xyxy)}, H, W)"
                )
            object.__setattr__(self, "masks", masks)
        object.__setattr__(self, "boxes_xyxy", boxes_xyxy)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "category_ids", category_ids)

    @classmethod
    def none(cls) -> Detections:
        """No detection at all."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, rows: np.ndarray) -> Detections:
        """Some of the detections, in the order of ``rows`` (indices or a bool array)."""
        masks = None if self.masks is None else self.masks[rows]
        return Detections(self.boxes_xyxy[rows], self.scores[rows], self.category_ids[rows], masks)
