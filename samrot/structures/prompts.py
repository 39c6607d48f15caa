"""What points at the things to segment, and what it must look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from samrot.errors import InputError
from samrot.geometry.rotated_boxes import corners_of

LABELS = (-1, 0, 1)
LARGEST = 1e8  # of any number in a prompt: float32 takes it through a network
MOST_POINTS = 1024  # of one prompt: memory grows with points x the segmenter's image tokens
SLACK = 1e-3  # pixels that rounding may put a point or box off the image


@dataclass(frozen=True)
class Prompts:
    """B prompts for one image, in pixels of that image (continuous coordinates, float64).

    Args:
        boxes_xyxy: (B, 4), or None.
        point_coords: (B, N, 2) as (x, y), or None.
        point_labels: (B, N): 1 foreground, 0 background, -1 ignored; given with points.
        mask_inputs: (B, 1, h, w) low-resolution logits of an earlier prediction, or None.
        rotated_boxes: (B, 5) as (cx, cy, w, h, angle_deg), counter-clockwise, instead of boxes; or
            None. Segmenters take none: ``robust`` makes them upright.
    """

    boxes_xyxy: np.ndarray | None = None
    point_coords: np.ndarray | None = None
    point_labels: np.ndarray | None = None
    mask_inputs: Tensor | None = None
    rotated_boxes: np.ndarray | None = None

    def __len__(self) -> int:
        for part in (self.boxes_xyxy, self.point_coords, self.mask_inputs, self.rotated_boxes):
            if part is not None:
                return len(part)
        return 1

    def __getitem__(self, rows: slice | np.ndarray) -> Prompts:
        """Some of the prompts."""
        parts = {name: None if part is None else part[rows] for name, part in vars(self).items()}
        return Prompts(**parts)


def check_prompts(
    prompts: Prompts,
    size_hw: tuple[int, int],
    remedy: str = "give pixels of the image as it was passed to set_image",
) -> None:
    """Refuse prompts that cannot be meant for an image of that size.

    Boxes may reach over its edges, and may be empty, as detectors and annotations have them.

    Args:
        prompts: the prompts.
        size_hw: (height, width) of the image.
        remedy: what to give instead of what lies beside it.

    Raises:
        InputError: if the numbers of prompts differ, a label is unknown, a box is inverted, has
            no size though it is rotated, or is beside the image, or a point is off it.
    """
    height, width = size_hw
    lengths = {
        name: len(part)
        for name, part in vars(prompts).items()
        if part is not None and name != "point_labels"
    }
    if len(set(lengths.values())) > 1:
        raise InputError(f"the numbers of prompts differ, {lengths}; give one of each per object")
    boxes = prompts.boxes_xyxy
    if boxes is not None:
        x0, y0, x1, y1 = boxes.T
        for fault, rows in (
            ("is inverted; expected x0 <= x1 and y0 <= y1", (x1 < x0) | (y1 < y0)),
            (
                f"lies beside the image of width {width} and height {height}; {remedy}",
                (np.minimum(x1, y1) < -SLACK) | (x0 > width + SLACK) | (y0 > height + SLACK),
            ),
        ):
            if rows.any():
                raise InputError(f"box {boxes[rows][0].tolist()} {fault}")
    if prompts.rotated_boxes is not None:
        _check_rotated_boxes(prompts, size_hw, remedy)
    points, labels = prompts.point_coords, prompts.point_labels
    if points is None or labels is None:
        return
    if points.shape[-2] == 0:
        raise InputError("point_coords holds no point; leave it out, or give at least one")
    if points.shape[-2] > MOST_POINTS:
        raise InputError(
            f"point_coords holds {points.shape[-2]} points in a prompt; expected at most "
            f"{MOST_POINTS}: give a box, or fewer points"
        )
    if not np.isin(labels, LABELS).all():
        wrong = labels[~np.isin(labels, LABELS)][0]
        raise InputError(
            f"point label {wrong:g} is unknown; expected 1 (foreground), 0 (background) or "
            "-1 (unused)"
        )
    outside = (points < -SLACK) | (points > (width + SLACK, height + SLACK))
    off = outside.any(axis=-1) & (labels >= 0)
    if off.any():
        raise InputError(
            f"point {points[off][0].tolist()} is off the image of width {width} and height "
            f"{height}; {remedy}"
        )


def _check_rotated_boxes(prompts: Prompts, size_hw: tuple[int, int], remedy: str) -> None:
    boxes, (height, width) = prompts.rotated_boxes, size_hw
    assert boxes is not None
    if prompts.boxes_xyxy is not None:
        raise InputError(
            "boxes and rotated boxes are both given; give one of the two: a box is a rotated box "
            "of angle 0"
        )
    flat = (boxes[:, 2:4] <= 0).any(axis=1)
    if flat.any():
        raise InputError(
            f"rotated box {boxes[flat][0].tolist()} has no size; expected (cx, cy, w, h, "
            "angle_deg) with w > 0 and h > 0"
        )
    # Two rectangles are apart if and only if they are along a side of one of them.
    corners = corners_of(boxes)
    beside = (corners.max(axis=1) < -SLACK) | (
        corners.min(axis=1) > np.array([width, height]) + SLACK
    )
    ends = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - boxes[:, None, :2]
    for start, end, size in ((0, 1, boxes[:, 2]), (0, 3, boxes[:, 3])):
        side = (corners[:, end] - corners[:, start]) / size[:, None]
        along = (ends * side[:, None]).sum(axis=-1)
        beside |= (
            (along.min(axis=1) > size / 2 + SLACK) | (along.max(axis=1) < -size / 2 - SLACK)
        )[:, None]
    if beside.any():
        raise InputError(
            f"rotated box {boxes[beside.any(axis=1)][0].tolist()} lies beside the image of width "
            f"{width} and height {height}; {remedy}"
        )


def check_mask_inputs(prompts: Prompts, size_hw: tuple[int, int]) -> None:
    """Refuse mask inputs that are not of the size of a segmenter's low-resolution logits.

    Raises:
        InputError
    """
    masks = prompts.mask_inputs
    if masks is not None and tuple(masks.shape[-2:]) != size_hw:
        raise InputError(
            f"mask_input is {masks.shape[-2]}x{masks.shape[-1]}; expected "
            f"{size_hw[0]}x{size_hw[1]}: the low-resolution logits of an earlier prediction"
        )


def checked_array(name: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    """``value`` as float64 after checking shape (-1 fits any length) and finiteness.

    Raises:
        InputError: naming the argument, what it is and what was expected.
    """
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = (value if value.is_complex() else value.double()).numpy()  # from any dtype
        array = np.asarray(value)
        if np.iscomplexobj(array):
            raise TypeError("complex numbers")
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} is no array of numbers ({error})") from error
    fits = array.ndim == len(shape) and all(
        wanted in (-1, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        shown = ", ".join("N" if wanted == -1 else str(wanted) for wanted in shape)
        raise InputError(f"{name} has shape {array.shape}; expected ({shown})")
    if not (np.abs(array) <= LARGEST).all():
        raise InputError(
            f"{name} holds NaN, infinity or numbers beyond {LARGEST:g}; expected finite numbers"
        )
    return array
