"""Detectors: any callable from an image to ``samrot.Detections``, and those that are built in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samrot.models.callables import import_callable
from samrot.structures.detections import Detections

Detector = Callable[[np.ndarray], Detections]


def _mask_rcnn(device: str) -> Detector:
    from samrot.models.mask_rcnn import torchvision_mask_rcnn

    return torchvision_mask_rcnn(device=device)


# Name -> loader(device).
DETECTORS: dict[str, Callable[[str], Detector]] = {"torchvision:maskrcnn": _mask_rcnn}


def load_detector(name: str, device: str) -> Detector:
    """Import a detector.

    Args:
        name: a key of ``DETECTORS``, or ``module:callable``, looked up from the current folder too.
        device: where a built-in one runs.

    Raises:
        InputError: if there is no such thing.
    """
    if name in DETECTORS:
        return DETECTORS[name](device)
    return import_callable("prompts.detector", name, "image -> Detections")
