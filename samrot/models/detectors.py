"""Detectors: any callable from an image to ``samrot.Detections``, and those that are built in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from samrot.errors import InputError
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
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        detector: Any = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # a module of the user may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"prompts.detector {name!r} cannot be imported ({reason}); expected module:callable, "
            "with the module in the current folder or installed"
        ) from error
    if not callable(detector):
        raise InputError(f"prompts.detector {name!r} is not callable; expected image -> Detections")
    checked: Detector = detector
    return checked
