"""Any detector, made robust: it sees the canonical image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.canonicalizers.base import check_image
from samrot.errors import InputError
from samrot.geometry import actions
from samrot.geometry.frames import CanonicalFrame
from samrot.types import Detections

Detector = Callable[[np.ndarray], Detections]


def canonicalized(detector: Detector, canonicalizer: Canonicalizer | str | Path = "c4") -> Detector:
    """Make a detector robust: it runs in the canonical frame, boxes and masks are turned back.

    Args:
        detector: contiguous (H, W, 3) uint8 RGB -> ``samrot.Detections``.
        canonicalizer: a ``Canonicalizer``, or a name or path for ``samrot.load_canonicalizer``.

    Returns:
        Again such a callable.
    """
    judge = as_canonicalizer(canonicalizer, "cpu")
    if judge is None:
        raise InputError("canonicalizer is None; expected one, or use the detector as it is")

    def detect(image: np.ndarray) -> Detections:
        check_image(image)
        return detect_in_frame(detector, image, judge.pose(image))

    return detect


def detect_in_frame(detector: Detector, image: np.ndarray, pose: int) -> Detections:
    """Run a detector on an image turned back by a known pose.

    Returns:
        Detections in the frame of the image.

    Raises:
        InputError: if the detector returns anything but ``Detections``.
    """
    frame = CanonicalFrame(pose, (image.shape[0], image.shape[1]), snapped=False)
    found = detector(frame.canonical_image(image))
    if not isinstance(found, Detections):
        raise InputError(
            f"the detector returned a {type(found).__name__}; expected samrot.Detections("
            "boxes_xyxy, scores, category_ids)"
        )
    masks = found.masks
    if masks is not None:
        seen_hw = actions.rotate_size(frame.size_hw, pose)
        if masks.shape[1:] != seen_hw:
            raise InputError(
                f"the detector returned masks of {masks.shape[1:]}; expected {seen_hw}, the size "
                "of the image that it was given"
            )
        masks = actions.rotate_masks(masks, pose)
    boxes_xyxy = frame.user_boxes(found.boxes_xyxy)
    return Detections(boxes_xyxy, found.scores, found.category_ids, masks)
