"""OpenCV GrabCut as a segmenter: boxes in, masks out, no weights.

The smallest real segmenter, and the example to copy: keep what you need of the photo in
``Encoding.features``, return ``Segmentation`` from ``decode``, add a line to ``SEGMENTERS``.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from samrot.segmenters.mask_only import boxes_alone, segmentation_from_masks
from samrot.segmenters.protocol import Encoding
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

ITERATIONS = 1  # five take three times as long and were no better
COLLAPSED = 0.2  # share of the box below which GrabCut has lost the object


class GrabCutSegmenter:
    """Colour models of inside and outside the box, and a graph cut between them (Rother 2004)."""

    name = "grabcut"
    predicts_scores = False

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def encode(self, image: np.ndarray) -> Encoding:
        """Keep a copy of the photo, (H, W, 3) uint8 RGB: the caller may reuse the array."""
        return Encoding((image.shape[0], image.shape[1]), np.array(image, order="C"))

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """Segment each box; one candidate, score 1.0, logits of +-1.

        Raises:
            InputError: if a prompt is anything but a box.
        """
        boxes_xyxy = boxes_alone(prompts, self.name)
        masks = np.zeros((len(boxes_xyxy), *encoding.size_hw), dtype=bool)
        for mask, box_xyxy in zip(masks, boxes_xyxy, strict=True):
            mask[:] = grabcut(encoding.features, box_xyxy)
        return segmentation_from_masks(masks, return_logits=return_logits)


def grabcut(image: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Segment what a box holds.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,), pixels; the part outside of the image is ignored.

    Returns:
        (H, W) bool. The ellipse that fills the box where there is too little inside or outside to
        tell apart, or where less than a fifth of the box would remain.
    """
    height, width = image.shape[:2]
    left, top = (int(max(0, np.floor(edge))) for edge in box_xyxy[:2])
    right = int(min(width, np.ceil(box_xyxy[2])))
    bottom = int(min(height, np.ceil(box_xyxy[3])))
    mask = np.zeros((height, width), dtype=np.uint8)
    if right <= left or bottom <= top:
        return mask.astype(bool)
    box = np.s_[top:bottom, left:right]
    mask[box] = cv2.GC_PR_FGD
    if min(right - left, bottom - top) < 3 or (mask == cv2.GC_BGD).sum() < 10:
        return _ellipse(height, width, left, top, right, bottom)
    # OpenCV seeds its mixture models from a global generator, so calls would differ.
    cv2.setRNGSeed(0)
    inside, outside = np.zeros((1, 65)), np.zeros((1, 65))
    unused_rectangle = (0, 0, 0, 0)
    cv2.grabCut(image, mask, unused_rectangle, outside, inside, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    foreground = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    if foreground[box].mean() < COLLAPSED:
        return _ellipse(height, width, left, top, right, bottom)
    return foreground


def _ellipse(height: int, width: int, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """The ellipse inscribed in a box, (H, W) bool."""
    y, x = (axis + 0.5 for axis in np.ogrid[:height, :width])
    across = (2 * x - left - right) / (right - left)
    down = (2 * y - top - bottom) / (bottom - top)
    inside: np.ndarray = across**2 + down**2 <= 1
    return inside
