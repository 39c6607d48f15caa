"""Pictures of masks for a person to look at."""

from __future__ import annotations

import cv2
import numpy as np

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
