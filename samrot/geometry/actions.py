"""How an element of C4 acts on images, points, boxes, masks and RLEs.

Convention: element k turns the image by k x 90 degrees counter-clockwise as displayed, which is
``torch.rot90(x, k, (-2, -1))``. One turn of a W x H image maps the point (x, y) to (y, W - x), in
continuous coordinates where pixel i covers [i, i + 1). No action pads, crops or interpolates.
"""

from __future__ import annotations

from typing import TypedDict

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

GRID = 64  # canonical coordinates are multiples of 1/64 px, see snap_to_grid

# OpenCV turns in blocks that fit the cache, ten times as fast as a strided copy.
_CV2_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
_BLOCKWISE = {("bool", ()), ("uint8", ()), ("float32", ()), ("uint8", (3,))}  # dtype, channels
_IN_NUMPY = {torch.bool, torch.uint8, torch.float32}


class RLE(TypedDict):
    """A compressed COCO run-length encoding; size is (height, width)."""

    size: list[int]
    counts: bytes | str


def rotate_size(size_hw: tuple[int, int], k: int) -> tuple[int, int]:
    """(height, width) of an image of ``size_hw`` after k quarter turns."""
    height, width = size_hw
    return (width, height) if k % 2 else (height, width)


def rotate_image(image: np.ndarray, k: int) -> np.ndarray:
    """Turn an image or mask whose first two axes are height and width.

    Args:
        image: (H, W) or (H, W, C), any dtype.

    Returns:
        A contiguous array; without a turn it may be ``image`` itself.
    """
    pixel = (image.dtype.name, image.shape[2:])
    if k % 4 == 0 or image.size == 0 or pixel not in _BLOCKWISE:
        return np.ascontiguousarray(np.rot90(image, k, axes=(0, 1)))
    if image.dtype == bool:
        return rotate_image(np.ascontiguousarray(image).view(np.uint8), k).view(bool)
    return cv2.rotate(image, _CV2_TURNS[k % 4])


def rotate_masks(masks: np.ndarray, k: int) -> np.ndarray:
    """Turn masks or mask logits, (..., H, W), each as ``rotate_image`` does."""
    if k % 4 == 0:
        return np.ascontiguousarray(masks)
    size_hw = rotate_size((masks.shape[-2], masks.shape[-1]), k)
    turned = np.empty((*masks.shape[:-2], *size_hw), dtype=masks.dtype)
    for place in np.ndindex(masks.shape[:-2]):
        turned[place] = rotate_image(masks[place], k)
    return turned


def rotate_tensor(tensor: Tensor, k: int) -> Tensor:
    """Turn images, masks or mask logits in network layout, (..., H, W).

    Gradients pass through. Without a turn the result may be ``tensor`` itself.
    """
    if tensor.device.type == "cpu" and tensor.dtype in _IN_NUMPY and not tensor.requires_grad:
        return torch.from_numpy(rotate_masks(tensor.numpy(), k))
    return torch.rot90(tensor, k, (-2, -1))


def rotate_points(points_xy: np.ndarray, k: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Turn points with the image they lie on.

    Args:
        points_xy: (..., 2), pixels, continuous coordinates.
        size_hw: of the image before the turn.

    Returns:
        (..., 2) float64, a new array.
    """
    points = np.array(points_xy, dtype=np.float64)
    x, y = points[..., 0], points[..., 1]
    height, width = size_hw
    turned = {
        0: (x, y),
        1: (y, width - x),
        2: (width - x, height - y),
        3: (height - y, x),
    }[k % 4]
    return np.stack(turned, axis=-1)


def rotate_pixels(pixels_xy: np.ndarray, k: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Turn pixel *indices*: one turn maps (x, y) to (y, W - 1 - x).

    Args:
        pixels_xy: (..., 2) int.
        size_hw: of the image before the turn.
    """
    centres = np.asarray(pixels_xy, dtype=np.float64) + 0.5
    return np.floor(rotate_points(centres, k, size_hw)).astype(np.int64)


def rotate_boxes(boxes_xyxy: np.ndarray, k: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Turn boxes with the image they lie on; corners keep their order (x0 <= x1 stays so).

    Args:
        boxes_xyxy: (..., 4), pixels, continuous edges.
        size_hw: of the image before the turn.

    Returns:
        (..., 4) float64, a new array.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    x0, y0 = np.moveaxis(rotate_points(boxes[..., :2], k, size_hw), -1, 0)
    x1, y1 = np.moveaxis(rotate_points(boxes[..., 2:], k, size_hw), -1, 0)
    # A turn by k carries the first corner (left, top) to another corner of the box.
    if k % 4 in (2, 3):
        x0, x1 = x1, x0
    if k % 4 in (1, 2):
        y0, y1 = y1, y0
    return np.stack([x0, y0, x1, y1], axis=-1)


def rotate_rle(rle: RLE, k: int) -> RLE:
    """Turn a compressed COCO RLE; the type of ``counts`` (bytes or str) is kept."""
    mask = coco_mask.decode(rle)
    turned: RLE = coco_mask.encode(np.asfortranarray(rotate_image(mask, k)))
    if isinstance(rle["counts"], str):
        turned["counts"] = bytes(turned["counts"]).decode("ascii")  # type: ignore[arg-type]
    return turned


def snap_to_grid(coordinates: np.ndarray) -> np.ndarray:
    """Round canonical coordinates to 1/64 px, in float64.

    W - (W - x) is not x in floating point, and a box that differs in its last bit can flip a mask
    pixel; on the grid, all turns of a prompt arrive at the same numbers.
    """
    return np.round(np.asarray(coordinates, dtype=np.float64) * GRID) / GRID
