"""Detections for other tools, and back: supervision, COCO results, Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from samrot.errors import InputError
from samrot.geometry.rle import encode_mask
from samrot.structures.detections import Detections

if TYPE_CHECKING:
    import supervision

_FINER = 3  # contours run through the middles of pixels: of finer ones they are nearer the edge
_LEAST_POINTS = 3  # of a polygon


def to_supervision(detections: Detections) -> supervision.Detections:
    """As ``supervision.Detections``, masks included.

    Raises:
        InputError: if supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise InputError("supervision is not installed; pip install 'samrot[interop]'") from error
    return supervision.Detections(
        xyxy=detections.boxes_xyxy.astype(np.float32),
        mask=detections.masks,
        confidence=detections.scores.astype(np.float32),
        class_id=detections.category_ids.astype(int),
    )


def from_supervision(found: supervision.Detections) -> Detections:
    """Of ``supervision.Detections``, as a detector gives them to ``samrot.canonicalized``.

    Raises:
        InputError: if they lack scores or classes, which are not made up.
    """
    if found.confidence is None or found.class_id is None:
        missing = "confidence" if found.confidence is None else "class_id"
        raise InputError(f"supervision's {missing} is None; expected a number for each detection")
    masks = None if found.mask is None else np.asarray(found.mask).astype(bool)
    return Detections(found.xyxy, found.confidence, found.class_id, masks)


def coco_results(
    detections: Detections, image_id: int, *, polygons: bool = False
) -> list[dict[str, Any]]:
    """As COCO results, which pycocotools, FiftyOne and CVAT read.

    Args:
        detections: what was found in the image.
        image_id: id of the image in the dataset.
        polygons: outlines instead of run lengths; holes are filled then.

    Returns:
        A JSON-ready record for each. One with run lengths has no ``bbox``: pycocotools would take
        its area from it. It reads no polygons without: score by run lengths. A mask that is empty
        has no outline, and is left out of polygons.
    """
    results = []
    for i, (x0, y0, x1, y1) in enumerate(detections.boxes_xyxy.tolist()):
        common = {"image_id": image_id, "category_id": int(detections.category_ids[i])}
        score, bbox = float(detections.scores[i]), [x0, y0, x1 - x0, y1 - y0]
        if detections.masks is None:
            results.append({**common, "bbox": bbox, "score": score})
        elif not polygons:
            segmentation: Any = encode_mask(detections.masks[i])
            results.append({**common, "segmentation": segmentation, "score": score})
        elif outlines := mask_polygons(detections.masks[i]):
            flat = [outline.ravel().tolist() for outline in outlines]
            results.append({**common, "segmentation": flat, "bbox": bbox, "score": score})
    return results


def label_studio_task(
    detections: Detections,
    image: str,
    size_hw: tuple[int, int],
    category_names: Mapping[int, str],
    *,
    model_version: str = "samrot",
) -> dict[str, Any]:
    """As a task of Label Studio with predictions: polygons where there are masks, else boxes.

    Args:
        detections: what was found in the image.
        image: its address, as Label Studio is to load it.
        size_hw: (height, width) of the image.
        category_names: category id -> label of the labelling interface.
        model_version: name that the predictions are listed under.

    Returns:
        JSON-ready; a list of them is what Label Studio imports. The interface's controls are called
        ``label``, and its image ``image``. Holes of masks are filled.

    Raises:
        InputError: if a category has no name.
    """
    height, width = size_hw
    unnamed = sorted(set(detections.category_ids.tolist()) - set(category_names))
    if unnamed:
        raise InputError(f"category_names lacks {unnamed[0]}; expected a name for each category")
    percent = 100 / np.array([width, height])
    shapes = []
    for i, box in enumerate(detections.boxes_xyxy):
        labels = [category_names[int(detections.category_ids[i])]]
        if detections.masks is None:
            (x, y), (right, bottom) = box.reshape(2, 2) * percent
            kind = "rectanglelabels"
            values = [{"x": x, "y": y, "width": right - x, "height": bottom - y, "rotation": 0}]
        else:
            kind = "polygonlabels"
            outlines = mask_polygons(detections.masks[i])
            values = [{"points": (o * percent).tolist(), "closed": True} for o in outlines]
        for part, value in enumerate(values):
            shapes.append(
                {
                    "id": f"{i}_{part}",
                    "type": kind,
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "score": float(detections.scores[i]),
                    "value": {**value, kind: labels},
                }
            )
    score = float(detections.scores.mean()) if len(detections) else None
    prediction = {"model_version": model_version, "score": score, "result": shapes}
    return {"data": {"image": image}, "predictions": [prediction]}


def mask_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of a mask, holes filled.

    Args:
        mask: (H, W) bool.

    Returns:
        (N, 2) float points (x, y) in pixels for each connected part, within a sixth of a pixel of
        its edge.
    """
    finer = mask.astype(np.uint8).repeat(_FINER, axis=0).repeat(_FINER, axis=1)
    outlines, _ = cv2.findContours(finer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [
        (outline[:, 0].astype(np.float64) + 0.5) / _FINER
        for outline in outlines
        if len(outline) >= _LEAST_POINTS
    ]
