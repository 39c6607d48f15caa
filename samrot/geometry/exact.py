"""How an element of D4 moves pixels and coordinates: exactly, by flips and quarter turns.

Convention: element m * 4 + k mirrors left-right first if m, then turns by k x 90 degrees
counter-clockwise as displayed, which is ``torch.rot90(x, k, (-2, -1))``. One turn of a W x H image
maps the point (x, y) to (y, W - x), in continuous coordinates where pixel i covers [i, i + 1).
Nothing here pads, crops or interpolates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

# OpenCV moves pixels in blocks that fit the cache, ten times as fast as a strided copy.
_CV2_MOVES: dict[int, Callable[[Any], Any]] = {
    1: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
    2: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    4: lambda image: cv2.flip(image, 1),
    5: cv2.transpose,
    6: lambda image: cv2.flip(image, 0),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
}
_BLOCKWISE = {("bool", ()), ("uint8", ()), ("float32", ()), ("uint8", (3,))}  # dtype, channels
_IN_NUMPY = {torch.bool, torch.uint8, torch.float32}


def move_size(size_hw: tuple[int, int], element: int) -> tuple[int, int]:
    """(height, width) of an image of ``size_hw`` after the element acted."""
    height, width = size_hw
    return (width, height) if element % 2 else (height, width)


def move_image(image: np.ndarray, element: int) -> np.ndarray:
    """An image or mask, its first two axes height and width, after the element acted.

    Args:
        image: (H, W) or (H, W, C), any dtype.
        element: element of D4.

    Returns:
        A contiguous array; under the identity it may be ``image`` itself.
    """
    pixel = (image.dtype.name, image.shape[2:])
    if element == 0 or image.size == 0 or pixel not in _BLOCKWISE:
        mirrored = image[:, ::-1] if element >= 4 else image
        return np.ascontiguousarray(np.rot90(mirrored, element % 4, axes=(0, 1)))
    if image.dtype == bool:
        return move_image(np.ascontiguousarray(image).view(np.uint8), element).view(bool)
    return _CV2_MOVES[element](image)


def move_masks(masks: np.ndarray, element: int) -> np.ndarray:
    """Masks or mask logits, (..., H, W), each as ``move_image`` does."""
    if element == 0:
        return np.ascontiguousarray(masks)
    size_hw = move_size((masks.shape[-2], masks.shape[-1]), element)
    moved = np.empty((*masks.shape[:-2], *size_hw), dtype=masks.dtype)
    for place in np.ndindex(masks.shape[:-2]):
        moved[place] = move_image(masks[place], element)
    return moved


def move_tensor(tensor: Tensor, element: int) -> Tensor:
    """Images, masks or mask logits in network layout, (..., H, W), after the element acted.

    Gradients pass through. Under the identity the result may be ``tensor`` itself.
    """
    if tensor.device.type == "cpu" and tensor.dtype in _IN_NUMPY and not tensor.requires_grad:
        return torch.from_numpy(move_masks(tensor.numpy(), element))
    return turn_tensor(tensor, element)


def turn_tensor(tensor: Tensor, element: int) -> Tensor:
    """``move_tensor`` by torch's own operations alone, which export and compile."""
    mirrored = tensor.flip(-1) if element >= 4 else tensor
    return torch.rot90(mirrored, element % 4, (-2, -1))


def move_points(points_xy: np.ndarray, element: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Points on an image after the element acted on it.

    Args:
        points_xy: (..., 2), pixels, continuous coordinates.
        element: element of D4.
        size_hw: (height, width) of the image before.

    Returns:
        (..., 2) float64, a new array.
    """
    points = np.array(points_xy, dtype=np.float64)
    x, y = points[..., 0], points[..., 1]
    height, width = size_hw
    if element >= 4:
        x = width - x
    moved = {
        0: (x, y),
        1: (y, width - x),
        2: (width - x, height - y),
        3: (height - y, x),
    }[element % 4]
    return np.stack(moved, axis=-1)


def move_pixels(pixels_xy: np.ndarray, element: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Pixel *indices* after the element acted: one turn maps (x, y) to (y, W - 1 - x).

    Args:
        pixels_xy: (..., 2) int.
        element: element of D4.
        size_hw: (height, width) of the image before.
    """
    centres = np.asarray(pixels_xy, dtype=np.float64) + 0.5
    return np.floor(move_points(centres, element, size_hw)).astype(np.int64)


def move_boxes(boxes_xyxy: np.ndarray, element: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes on an image after the element acted on it; x0 <= x1 and y0 <= y1 stay so.

    Args:
        boxes_xyxy: (..., 4), pixels, continuous edges.
        element: element of D4.
        size_hw: (height, width) of the image before.

    Returns:
        (..., 4) float64, a new array.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    first = move_points(boxes[..., :2], element, size_hw)
    second = move_points(boxes[..., 2:], element, size_hw)
    # Whichever axis the element reverses, its edges change places: the order of an inverted box,
    # which is refused elsewhere, is kept too.
    x_reversed, y_reversed = _REVERSED[element]
    x0, x1 = (second, first) if x_reversed else (first, second)
    y0, y1 = (second, first) if y_reversed else (first, second)
    return np.stack([x0[..., 0], y0[..., 1], x1[..., 0], y1[..., 1]], axis=-1)


def _reversed_axes(element: int) -> tuple[bool, bool]:
    start, end = move_points(np.array([[0.0, 0.0], [1.0, 1.0]]), element, (1, 1))
    return bool(end[0] < start[0]), bool(end[1] < start[1])


_REVERSED = tuple(_reversed_axes(element) for element in range(8))
