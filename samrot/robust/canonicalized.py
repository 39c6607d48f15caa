"""Any model, made robust: it sees the canonical image, and what it says is moved back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError, check_choice
from samrot.models.classifiers import check_scores
from samrot.models.detectors import Detector
from samrot.robust.frames import (
    SCORES_CANVAS,
    TILT_POLICIES,
    CanonicalFrame,
    walk,
)
from samrot.structures.detections import Detections
from samrot.structures.image import check_image

Model = Callable[[np.ndarray], Any]


def canonicalized(
    model: Model,
    canonicalizer: Canonicalizer | str | Path = "c4",
    *,
    output: str = "detections",
    tilt: str = "auto",
) -> Model:
    """Make a model robust: it runs in the canonical frame, and its result is moved back.

    Args:
        model: contiguous (H, W, 3) uint8 RGB -> result.
        canonicalizer: a ``Canonicalizer``, or a name or path for ``samrot.load_canonicalizer``.
        output: what the model returns: ``detections`` (``samrot.Detections``); ``scores``, (K,) of
            classes, which are the same in every frame; or ``masks``, (N, H, W) bool. For scores a
            photo whose tilt is undone keeps its size, its edge repeated.
        tilt: ``quarter`` undoes quarter turns and mirrors, ``full`` a tilt too, by one warp;
            ``auto`` is ``full``: there are no boxes of the user's that a warp would spoil.

    Returns:
        Again such a callable.

    Raises:
        InputError: if an argument is off; the callable, if the model returns something else.
    """
    check_choice("output", output, _OUTPUTS)
    check_choice("tilt", tilt, TILT_POLICIES)
    pose_source = as_canonicalizer(canonicalizer, "cpu")
    if pose_source is None:
        raise InputError("canonicalizer is None; expected one, or use the model as it is")
    check, move_back = _OUTPUTS[output]
    undone = "quarter" if tilt == "quarter" else "full"
    canvas = SCORES_CANVAS if output == "scores" else "expand"

    def run(image: np.ndarray) -> Any:
        check_image(image)
        return walk(
            image, pose_source, lambda seen: check(model(seen)), move_back,
            tilt=undone, canvas=canvas,
        )  # fmt: skip

    return run


def checked(detector: Detector) -> Detector:
    """A detector whose result is refused if it is anything but ``Detections``."""
    return lambda image: _check_detections(detector(image))


def _check_detections(detections: Any) -> Detections:
    if not isinstance(detections, Detections):
        raise InputError(
            f"the detector returned a {type(detections).__name__}; expected samrot.Detections("
            "boxes_xyxy, scores, category_ids)"
        )
    return detections


def _check_masks(masks: Any) -> np.ndarray:
    array = np.asarray(masks)
    if array.ndim != 3 or array.dtype != bool:
        raise InputError(
            f"the model returned {array.dtype} of shape {array.shape}; expected (N, H, W) bool"
        )
    return array


# Output -> its check, and how it is moved back.
_OUTPUTS: dict[str, tuple[Callable[[Any], Any], Callable[[CanonicalFrame, Any], Any]]] = {
    "detections": (_check_detections, CanonicalFrame.user_detections),
    "scores": (check_scores, lambda frame, scores: scores),
    "masks": (_check_masks, lambda frame, masks: frame.transform.inverse().masks(masks)),
}
