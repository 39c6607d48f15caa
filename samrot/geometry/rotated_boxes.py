"""Rotated boxes: what their numbers mean, how others write them, and which share a frame.

Convention: (cx, cy, w, h, angle_deg) is a box w wide and h high about the centre (cx, cy), turned
about it by angle_deg counter-clockwise as displayed; pixels, continuous coordinates. (cx, cy, h, w,
angle_deg - 90) is the same box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from samrot.errors import InputError, check_choice
from samrot.geometry.groups import rotation_matrix

BOX_RULES = ("ellipse", "hull")
ANGLE_GRID = 1024  # snapped angles are multiples of 1/1024 degree, and all their sums are exact
_QUARTER_DEG = 90.0


def residue_deg(angles_deg: np.ndarray | float) -> np.ndarray:
    """Angles less the nearest quarter turn, in (-45, 45], float64; 0 exactly at quarter turns."""
    angles = np.asarray(angles_deg, dtype=np.float64)
    residues: np.ndarray = angles - _QUARTER_DEG * np.ceil(angles / _QUARTER_DEG - 0.5)
    return residues


def corners_of(rotated_boxes: np.ndarray) -> np.ndarray:
    """Corners, (..., 4, 2) as (x, y), of rotated boxes, (..., 5).

    From the corner that is top left before the box is turned on, clockwise as displayed.
    """
    boxes = np.asarray(rotated_boxes, dtype=np.float64)
    half = boxes[..., None, 2:4] / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    cos, sin = _cos_sin(boxes[..., 4:5])
    x, y = half[..., 0], half[..., 1]
    turned = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    corners: np.ndarray = boxes[..., None, :2] + turned
    return corners


def upright_boxes(rotated_boxes: np.ndarray, how: str = "ellipse") -> np.ndarray:
    """Upright boxes, (..., 4) XYXY, for rotated ones, (..., 5); at quarter turns the box itself.

    Args:
        rotated_boxes: as of this module.
        how: what of the rotated box the upright one holds: ``ellipse``, the ellipse inscribed in
            it, which fits most objects closely; or ``hull``, all of it.
    """
    check_choice("boxes how", how, BOX_RULES)
    boxes = np.asarray(rotated_boxes, dtype=np.float64)
    residues = residue_deg(boxes[..., 4])
    lies = np.round((boxes[..., 4] - residues) / _QUARTER_DEG).astype(np.int64) % 2 == 1
    size = np.where(lies[..., None], boxes[..., 3:1:-1], boxes[..., 2:4])
    half = enclosing_half(size / 2, residues, how)
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def enclosing_half(half_xy: np.ndarray, angle_deg: np.ndarray | float, how: str) -> np.ndarray:
    """Half the width and height, (..., 2), of what encloses turned boxes of that half size.

    Args:
        half_xy: (..., 2), half the width and height of the boxes.
        angle_deg: (...), by which they are turned.
        how: as in ``upright_boxes``.
    """
    cos, sin = np.abs(_cos_sin(angle_deg))
    half_x, half_y = np.moveaxis(half_xy, -1, 0)
    enclose = np.hypot if how == "ellipse" else np.add
    return np.stack(
        [enclose(half_x * cos, half_y * sin), enclose(half_x * sin, half_y * cos)], axis=-1
    )


def snap_rotated(rotated_boxes: np.ndarray, grid: int) -> np.ndarray:
    """Rotated boxes, (..., 5), centre and size rounded to 1/grid px, angle to 1/1024 degree."""
    steps = np.array([grid, grid, grid, grid, ANGLE_GRID], dtype=np.float64)
    snapped: np.ndarray = np.round(rotated_boxes * steps) / steps
    return snapped


def from_opencv(rect: Sequence[Any]) -> np.ndarray:
    """A rotated box, (5,), from OpenCV's RotatedRect, ((cx, cy), (w, h), angle).

    OpenCV's angle is clockwise as displayed. ``cv2.findContours`` names pixels by their index: add
    0.5 to its points before ``cv2.minAreaRect``, or to the centre after it.

    Raises:
        InputError: if it is no such rect.
    """
    try:
        (cx, cy), (width, height), angle_deg = rect
        return np.array([cx, cy, width, height, -angle_deg], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"rect is {rect!r}; expected ((cx, cy), (w, h), angle), as of cv2.minAreaRect"
        ) from error


def from_detectron2(boxes: object) -> np.ndarray:
    """Rotated boxes, (N, 5), from detectron2's RotatedBoxes or their tensor.

    Its (cx, cy, w, h, angle) have the convention of this module, to the sense of the angle.

    Raises:
        InputError: if they are not (N, 5).
    """
    return _numbers(getattr(boxes, "tensor", boxes), 5, "boxes")


def from_corners(corners: object) -> np.ndarray:
    """Rotated boxes, (N, 5), from four corners each, in order around it, as DOTA has them.

    Where the corners are those of no rectangle, the box is the smallest that holds them. Its angle
    is in (-45, 45], wherever the corners begin.

    Args:
        corners: (N, 8), x1 y1 x2 y2 x3 y3 x4 y4 each.

    Raises:
        InputError: if they are not (N, 8).
    """
    quadrilaterals = _numbers(corners, 8, "corners").reshape(-1, 4, 2)
    return np.array([minimum_area_box(points) for points in quadrilaterals]).reshape(-1, 5)


def minimum_area_box(points_xy: np.ndarray) -> np.ndarray:
    """The smallest rotated box, (5,), that holds some points; its angle is in (-45, 45].

    Of several that are equally small, the one that is turned least. One side lies on the hull of
    the points (Freeman and Shapira 1975).

    Args:
        points_xy: (N, 2), at least one.
    """
    points = np.asarray(points_xy, dtype=np.float64)
    hull = points[cv2.convexHull(points.astype(np.float32), returnPoints=False).ravel()]
    edges = np.roll(hull, -1, axis=0) - hull
    edges = edges[np.abs(edges).any(axis=1)]
    angles = residue_deg(np.degrees(np.arctan2(-edges[:, 1], edges[:, 0])))
    angles = np.unique(np.append(angles, 0.0))
    angles = angles[np.argsort(np.abs(angles), kind="stable")]
    boxes = []
    for angle_deg in angles.tolist():
        turned = hull @ rotation_matrix(-angle_deg).T
        first, last = turned.min(axis=0), turned.max(axis=0)
        centre = (first + last) / 2 @ rotation_matrix(angle_deg).T
        boxes.append([*centre, *(last - first), angle_deg])
    areas = np.array([width * height for _, _, width, height, _ in boxes])
    smallest = np.flatnonzero(areas <= areas.min() * (1 + 1e-9))[0]
    return np.array(boxes[smallest])


def shared_angles(
    angles_deg: np.ndarray, most: int, like_deg: float
) -> tuple[np.ndarray, np.ndarray]:
    """Few angles that stand for many, up to quarter turns.

    Neighbours on the circle of 90 degrees are joined, those first whose arc together is the
    narrowest, until no two make an arc of ``like_deg`` and there are at most ``most``.

    Args:
        angles_deg: (N,).
        most: number of arcs that is allowed.
        like_deg: width of an arc that is worth joining, degrees.

    Returns:
        (M,) middles of the arcs, in (-45, 45], and (N,) the arc of each angle. An angle that is
        alone is the middle of its arc.
    """
    residues, inverse = np.unique(residue_deg(angles_deg), return_inverse=True)
    arcs = [(first, first, {place}) for place, first in enumerate(residues.tolist())]
    while len(arcs) > 1:
        # The last and the first are neighbours too, a quarter turn on.
        ends = [last for _, last, _ in arcs[1:]] + [arcs[0][1] + _QUARTER_DEG]
        widths = [end - arc[0] for arc, end in zip(arcs, ends, strict=True)]
        narrowest = int(np.argmin(widths))
        if len(arcs) <= most and widths[narrowest] > like_deg:
            break
        following = (narrowest + 1) % len(arcs)
        joined = (arcs[narrowest][0], ends[narrowest], arcs[narrowest][2] | arcs[following][2])
        arcs[narrowest] = joined
        del arcs[following]
    middles = residue_deg(np.array([(first + last) / 2 for first, last, _ in arcs]))
    arc_of = np.zeros(len(residues), dtype=np.int64)
    for number, (_, _, places) in enumerate(arcs):
        arc_of[list(places)] = number
    return middles, arc_of[inverse.reshape(-1)]


def _cos_sin(angle_deg: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine, exact at quarter turns as ``rotation_matrix`` is."""
    radians = np.radians(np.asarray(angle_deg, dtype=np.float64))
    exact = residue_deg(angle_deg) == 0
    cos, sin = np.cos(radians), np.sin(radians)
    return np.where(exact, np.round(cos), cos), np.where(exact, np.round(sin), sin)


def _numbers(values: object, width: int, name: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers ({error})") from error
    if array.size == 0:
        array = array.reshape(0, width)
    if array.ndim != 2 or array.shape[1] != width:
        raise InputError(f"{name} has shape {array.shape}; expected (N, {width})")
    return array
