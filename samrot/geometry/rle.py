"""Masks as COCO run-length encodings."""

from __future__ import annotations

from typing import TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco_mask


class RLE(TypedDict):
    """A compressed COCO run-length encoding; size is (height, width)."""

    size: list[int]
    counts: bytes | str


def encode_mask(mask: np.ndarray) -> RLE:
    """(H, W) bool to a compressed RLE whose counts are text, ready for JSON."""
    pixels = np.ascontiguousarray(mask, dtype=bool).view(np.uint8)
    rle = coco_mask.encode(cv2.transpose(pixels).T)  # in Fortran order, sooner than by numpy
    return RLE(size=[int(side) for side in rle["size"]], counts=rle["counts"].decode("ascii"))


def decode_mask(rle: RLE) -> np.ndarray:
    """A compressed RLE to (H, W) bool."""
    return coco_mask.decode(rle).astype(bool)


def rle_iou(first: RLE, second: RLE) -> float:
    """IoU of two masks; 1.0 where both are empty."""
    if coco_mask.area(first) == 0 and coco_mask.area(second) == 0:
        return 1.0
    return float(coco_mask.iou([first], [second], [0])[0, 0])
