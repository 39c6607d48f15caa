"""The law as a public tool: does what is built around a model commute with a group?"""

from __future__ import annotations

from typing import Any

import numpy as np

from samrot.geometry.groups import C4, FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.predictor import RobustPredictor


def assert_commutes(
    predictor: RobustPredictor,
    group: FiniteGroup = C4,
    *,
    image: np.ndarray | None = None,
    boxes_xyxy: np.ndarray | None = None,
) -> None:
    """Fail unless the masks of a moved photo are the moved masks of the photo, to the bit.

    Args:
        predictor: predictor whose segmenter takes boxes, and whose canonicalizer is of that group.
        group: C4 or D4.
        image: (H, W, 3) uint8 RGB; None takes noise with a bright patch, 60 x 84.
        boxes_xyxy: (N, 4), pixels of that image, on the grid of 1/64 px; None takes two boxes.

    Raises:
        AssertionError: naming the element, and what does not commute.
    """
    if image is None:
        image = np.random.default_rng(0).integers(0, 160, (60, 84, 3), dtype=np.uint8)
        image[12:30, 20:60] += 90
    if boxes_xyxy is None:
        boxes_xyxy = np.array([[18.0, 10.0, 62.0, 33.5], [2.25, 31.0, 40.0, 58.75]])
    size_hw = (image.shape[0], image.shape[1])
    upright = _predict(predictor, image, boxes_xyxy)
    for g in range(group.order):
        moved = PlaneTransform.from_pose(Pose.of_element(group, g), size_hw)
        of_moved = _predict(predictor, moved.image(image), moved.boxes(boxes_xyxy))
        for name, (expected, move) in {
            "masks": (upright["masks"], moved.masks),
            "scores": (upright["scores"], _stay),
        }.items():
            difference = np.count_nonzero(move(expected) != of_moved[name])
            assert difference == 0, (
                f"{name} do not commute with element {group.names[g]} of {group.name}: "
                f"{difference} of {expected.size} values differ"
            )


def _stay(values: np.ndarray) -> np.ndarray:
    return values


def _predict(
    predictor: RobustPredictor, image: np.ndarray, boxes_xyxy: np.ndarray
) -> dict[str, Any]:
    ((masks, scores, _),) = predictor.predict_batch([image], [boxes_xyxy])
    return {"masks": masks, "scores": scores}
