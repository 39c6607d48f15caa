"""Prompts as users give them, checked before any work."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samrot.errors import InputError
from samrot.structures.image import check_image
from samrot.structures.prompts import Prompts, check_prompts, checked_array


def batch_prompts(
    images: Iterable[np.ndarray],
    boxes: Sequence[ArrayLike] | None,
    point_coords: Sequence[ArrayLike] | None,
    point_labels: Sequence[ArrayLike] | None,
    rotated_boxes: Sequence[ArrayLike] | None,
) -> tuple[list[np.ndarray], list[Prompts]]:
    """Images, and the prompts of each: see ``RobustPredictor.predict_batch``.

    Raises:
        InputError: if one of them is off, or there is not one of each for every image.
    """
    given = {
        "boxes": boxes,
        "rotated_boxes": rotated_boxes,
        "point_coords": point_coords,
        "point_labels": point_labels,
    }
    try:
        images = list(images)
        listed = {name: list(values) for name, values in given.items() if values is not None}
    except TypeError as error:
        raise InputError(f"images or boxes is no list ({error}); expected one of each") from error
    prompting = [name for name in listed if name != "point_labels"]
    if not prompting:
        raise InputError(
            "neither boxes, rotated_boxes nor point_coords are given; expected those of each image"
        )
    for name, values in listed.items():
        if len(values) != len(images):
            raise InputError(
                f"images are {len(images)} and {name} {len(values)}; expected {name} for each "
                "image, an empty array where there are none"
            )
    prompts = []
    for n, image in enumerate(images):
        check_image(image)
        of_image = {name: values[n] for name, values in listed.items()}
        if all(of_image[name] is None for name in prompting):
            raise InputError(
                f"no prompt is given for image {n}, None for {' and '.join(prompting)}; expected "
                "those of each image, an empty array where there are none"
            )
        boxes_xyxy = _checked_boxes("boxes", of_image.get("boxes"), 4)
        rotated = _checked_boxes("rotated_boxes", of_image.get("rotated_boxes"), 5)
        points, labels = checked_points(
            of_image.get("point_coords"), of_image.get("point_labels"), (-1, -1, 2)
        )
        prompts.append(Prompts(boxes_xyxy, points, labels, rotated_boxes=rotated))
        check_prompts(prompts[-1], (image.shape[0], image.shape[1]))
    return images, prompts


def _checked_boxes(name: str, boxes: object, width: int) -> np.ndarray | None:
    empty = isinstance(boxes, list) and not boxes
    values = np.zeros((0, width)) if empty else boxes
    return None if boxes is None else checked_array(name, values, (-1, width))


def user_prompt(
    point_coords: ArrayLike | None,
    point_labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None = None,
    rotated_box: ArrayLike | None = None,
    *,
    size_hw: tuple[int, int],
) -> Prompts:
    """One prompt, B = 1, as ``RobustPredictor.predict`` takes it, for an image of that size.

    Raises:
        InputError: if a part of it is off.
    """
    boxes = mask_inputs = rotated_boxes = None
    points, labels = checked_points(point_coords, point_labels, (-1, 2))
    if box is not None:
        nested = len(box) == 1 if isinstance(box, list | tuple) else getattr(box, "ndim", 1) == 2
        shape = (1, 4) if nested else (4,)  # SamPredictor takes either
        boxes = checked_array("box", box, shape).reshape(1, 4)
    if rotated_box is not None:
        rotated_boxes = checked_array("rotated_box", rotated_box, (5,))[None]
    if mask_input is not None:
        logits = checked_array("mask_input", mask_input, (1, -1, -1)).astype(np.float32)
        mask_inputs = torch.from_numpy(logits)[None]
    if points is not None and labels is not None:
        points, labels = points[None], labels[None]
    prompts = Prompts(boxes, points, labels, mask_inputs, rotated_boxes)
    check_prompts(prompts, size_hw)
    return prompts


def checked_resized(
    transformed_image: object, original_image_size: tuple[int, ...], transform: Any
) -> tuple[Tensor, tuple[int, int]]:
    """An image that was resized already, and its size before that.

    Args:
        transformed_image: (1, 3, H, W), 0..255, resized by ``transform``.
        original_image_size: (height, width) before that.
        transform: segment-anything's ``ResizeLongestSide``.

    Returns:
        The image as float, and the size.

    Raises:
        InputError: if they are not that, or do not belong together.
    """
    side = transform.target_length
    if not isinstance(transformed_image, Tensor):
        raise InputError(
            f"transformed_image is a {type(transformed_image).__name__}; expected a tensor"
        )
    shape = tuple(transformed_image.shape)
    if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != side:
        raise InputError(
            f"transformed_image has shape {shape}; expected (1, 3, H, W) with the longer side "
            f"{side}: resize by predictor.transform.apply_image"
        )
    try:
        height, width = original_image_size
        size_hw = (operator.index(height), operator.index(width))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"original_image_size is {original_image_size!r}; expected (height, width)"
        ) from error
    if min(size_hw) < 1 or transform.get_preprocess_shape(*size_hw, side) != shape[2:]:
        raise InputError(
            f"original_image_size is {size_hw}, but transformed_image is {shape[2:]}; "
            "expected (height, width) before the resize"
        )
    pixels = transformed_image.detach().float()
    if not torch.isfinite(pixels).all():
        raise InputError("transformed_image holds NaN or infinity; expected pixels 0..255")
    return pixels, size_hw


def checked_points(
    coords: object, labels: object, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Point prompts as float64 coordinates and their labels, which are given together."""
    if coords is None and labels is None:
        return None, None
    if coords is None:
        raise InputError("point_labels is given without point_coords; give both or neither")
    points = checked_array("point_coords", coords, shape)
    if labels is None:
        raise InputError("point_labels is missing; expected one label per point")
    return points, checked_array("point_labels", labels, points.shape[:-1])
