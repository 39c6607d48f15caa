"""Pictures of masks for a person to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from samrot.data.coco import CocoDataset
from samrot.engines.prompt_sources import xywh_to_xyxy
from samrot.geometry import actions
from samrot.predictor import RobustPredictor
from samrot.segmenters import Prompts

GAP = 6  # pixels between panels
CELL = 300  # longest side of a panel, pixels


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB, well apart: the golden angle around the colour wheel."""
    hues = (np.arange(count) * 137.508 / 2 % 180).astype(np.uint8)
    hsv = np.stack([hues, np.full(count, 200, np.uint8), np.full(count, 255, np.uint8)], axis=1)
    if count == 0:
        return np.zeros((0, 3), dtype=np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def draw_masks(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Tint masks and draw their outlines.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool.
    """
    drawn = image.copy()
    # Large masks first, so that small ones stay visible.
    for index in np.argsort([-mask.sum() for mask in masks], kind="stable"):
        mask, colour = masks[index], palette(len(masks))[index]
        drawn[mask] = (0.5 * drawn[mask] + 0.5 * colour).astype(np.uint8)
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(drawn, outlines, -1, colour.tolist(), 1)
    return drawn


def draw_comparison(
    dataset: CocoDataset,
    image_id: int,
    plain: RobustPredictor,
    robust: RobustPredictor,
    path: Path,
) -> None:
    """One photo at four angles: above the plain predictor's masks, below the robust one's.

    Both get the ground-truth boxes, turned with the photo.
    """
    upright = dataset.read(image_id)
    boxes = xywh_to_xyxy([instance["bbox"] for instance in dataset.instances(image_id)])
    columns = []
    for turns in range(4):
        turned = actions.rotate_image(upright, turns)
        turned_boxes = actions.rotate_boxes(boxes, turns, (upright.shape[0], upright.shape[1]))
        panels = []
        for name, predictor in (("plain", plain), ("robust", robust)):
            predictor.set_image(turned)
            masks = np.zeros((0, *turned.shape[:2]), dtype=bool)
            if len(boxes):
                result = predictor.predict_prompts(Prompts(boxes_xyxy=turned_boxes))
                masks = result.masks[:, 0].cpu().numpy()
            label = f"{name}, {turns * 90} deg"
            if predictor.canonicalizer is not None:
                label += f", pose {predictor.pose * 90}"
            panels.append(panel(draw_masks(turned, masks), label))
        columns.append(np.concatenate(panels, axis=0))
    Image.fromarray(np.concatenate(columns, axis=1)).save(path)


def panel(image: np.ndarray, label: str) -> np.ndarray:
    """An image in the middle of a labelled square."""
    scale = CELL / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    caption = 22
    panel = np.full((CELL + caption + GAP, CELL + GAP, 3), 255, dtype=np.uint8)
    top, left = caption + (CELL - height) // 2, (CELL - width) // 2
    panel[top : top + height, left : left + width] = image
    cv2.putText(panel, label, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return panel
