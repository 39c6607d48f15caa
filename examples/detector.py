"""Wrap a detector of your own for samrot.

A detector is a callable: a contiguous (H, W, 3) uint8 RGB array in, ``samrot.Detections`` out. This
one finds coloured blobs, so that the example runs anywhere; put your model in its place.

    samrot evaluate --prompts.source detector --prompts.detector examples.detector:detect ...
    python -m examples.detector PHOTO
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

import samrot

CATEGORY_ID = 1  # ids of your dataset, not indices of your model


def detect(image: np.ndarray) -> samrot.Detections:
    """Boxes around strongly coloured regions; their score is their share of the box."""
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    _, vivid = cv2.threshold(saturation, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    _, _, stats, _ = cv2.connectedComponentsWithStats(vivid)
    blobs = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= 100].astype(np.float64)
    x, y, width, height, area = blobs.T
    return samrot.Detections(
        np.stack([x, y, x + width, y + height], axis=1),
        area / (width * height),
        np.full(len(blobs), CATEGORY_ID),
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    robust_detect = samrot.canonicalized(detect)
    found = robust_detect(samrot.read_image(sys.argv[1]))
    for box, score in zip(found.boxes_xyxy, found.scores, strict=True):
        print(f"{score:.2f}  {np.round(box).astype(int).tolist()}")
