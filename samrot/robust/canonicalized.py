"""Any detector, made robust: it sees the canonical image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError
from samrot.models.detectors import Detector
from samrot.robust.pipeline import CanonicalFrame, walk
from samrot.structures.detections import Detections
from samrot.structures.image import check_image


def canonicalized(detector: Detector, canonicalizer: Canonicalizer | str | Path = "c4") -> Detector:
    """Make a detector robust: it runs in the canonical frame, boxes and masks are moved back.

    Args:
        detector: contiguous (H, W, 3) uint8 RGB -> ``samrot.Detections``.
        canonicalizer: a ``Canonicalizer``, or a name or path for ``samrot.load_canonicalizer``.

    Returns:
        Again such a callable.
    """
    pose_source = as_canonicalizer(canonicalizer, "cpu")
    if pose_source is None:
        raise InputError("canonicalizer is None; expected one, or use the detector as it is")

    def detect(image: np.ndarray) -> Detections:
        check_image(image)
        return walk(image, pose_source, checked(detector), CanonicalFrame.user_detections)

    return detect


def checked(detector: Detector) -> Detector:
    """A detector whose result is refused if it is anything but ``Detections``."""

    def detect(image: np.ndarray) -> Detections:
        detections = detector(image)
        if not isinstance(detections, Detections):
            raise InputError(
                f"the detector returned a {type(detections).__name__}; expected samrot.Detections("
                "boxes_xyxy, scores, category_ids)"
            )
        return detections

    return detect
