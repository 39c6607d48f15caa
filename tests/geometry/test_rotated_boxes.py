"""Rotated boxes: the sense of the angle against moved pixels and OpenCV, and angles that share."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.geometry.rotated_boxes import (
    corners_of,
    from_corners,
    from_detectron2,
    from_opencv,
    minimum_area_box,
    residue_deg,
    shared_angles,
    upright_boxes,
)

BOXES = np.array([[30.0, 20.0, 24.0, 10.0, angle] for angle in (0, 15, 45, -30, 75, 130, 200.5)])


def as_set(corners: np.ndarray) -> np.ndarray:
    """Corners in an order of their own, for boxes with several names."""
    return corners[np.lexsort(np.round(corners, 4).T)]


def test_the_angle_is_counter_clockwise_as_displayed() -> None:
    """The box of a bar that ``PlaneTransform`` has tilted, which is tested against pixels."""
    photo = np.zeros((80, 120, 3), dtype=np.uint8)
    photo[35:45, 40:80] = 255
    transform = PlaneTransform.from_pose(Pose(0, 30.0), (80, 120))
    y, x = np.nonzero(transform.image(photo)[..., 0] > 128)
    assert y[np.argmax(x)] < y[np.argmin(x)]  # its right end went up
    box = minimum_area_box(np.stack([x, y], axis=1) + 0.5)
    assert abs(box[4] - 30) < 2
    np.testing.assert_allclose(box[:4], [60, 40, 40, 10], atol=1.5)


def test_corners_are_clockwise_from_the_top_left() -> None:
    assert corners_of(np.array([3.0, 2.0, 4.0, 2.0, 0.0])).tolist() == [
        [1, 1], [5, 1], [5, 3], [1, 3],
    ]  # fmt: skip
    # A quarter turn counter-clockwise takes the top left to the bottom left; exactly.
    assert corners_of(np.array([3.0, 2.0, 4.0, 2.0, 90.0])).tolist() == [
        [2, 4], [2, 0], [4, 0], [4, 4],
    ]  # fmt: skip


@pytest.mark.parametrize("turns", range(-3, 5))
def test_quarter_turns_are_exact(turns: int) -> None:
    box = np.array([13.5, 7.25, 9.0, 4.5, 90.0 * turns])
    expected = [9, 5, 18, 9.5] if turns % 2 == 0 else [11.25, 2.75, 15.75, 11.75]
    for how in ("ellipse", "hull"):
        assert upright_boxes(box, how).tolist() == expected
    assert residue_deg(box[4]) == 0


def test_upright_boxes_hold_the_ellipse_or_all() -> None:
    angles = np.linspace(0, 2 * np.pi, 20001)
    for box in BOXES:
        circle = np.stack([np.cos(angles) * 12, np.sin(angles) * 5], axis=1)
        turned = np.radians(box[4])
        matrix = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
        ellipse = circle @ matrix.T + box[:2]
        for how, points in (("ellipse", ellipse), ("hull", corners_of(box))):
            bounds = [*points.min(axis=0), *points.max(axis=0)]
            np.testing.assert_allclose(upright_boxes(box, how), bounds, atol=1e-5)
    with pytest.raises(InputError, match="boxes how is 'snug'"):
        upright_boxes(BOXES, "snug")


@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 89.0, 90.0])
def test_opencv(angle: float) -> None:
    rect = ((30.25, 41.5), (52.0, 20.0), angle)
    corners = as_set(corners_of(from_opencv(rect)))
    np.testing.assert_allclose(corners, as_set(cv2.boxPoints(rect).astype(float)), atol=1e-4)
    # What OpenCV makes of the corners is the same box, whatever it calls it.
    found = from_opencv(cv2.minAreaRect(cv2.boxPoints(rect)))
    np.testing.assert_allclose(as_set(corners_of(found)), corners, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_box_is_that_of_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 2)) * (30, 8) @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + 100
    box = minimum_area_box(points)
    (_, (width, height), _) = cv2.minAreaRect(points.astype(np.float32))
    assert box[2] * box[3] == pytest.approx(width * height, rel=1e-4)
    assert -45 < box[4] <= 45
    # It holds them all.
    unturned = PlaneTransform.from_pose(Pose(0, -box[4]), (200, 200))
    back = unturned.points(points) - unturned.points(box[:2])
    assert (np.abs(back) <= box[2:4] / 2 + 1e-9).all()


def test_the_smallest_box_of_little() -> None:
    assert minimum_area_box(np.array([[3.0, 4.0]])).tolist() == [3, 4, 0, 0, 0]
    line = minimum_area_box(np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(np.sort(line[2:4]), [0, 5], atol=1e-9)
    # Of boxes that are equally small, the one that is turned least.
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    assert minimum_area_box(square).tolist() == [2, 2, 4, 4, 0]


def test_eight_corners_of_dota() -> None:
    corners = corners_of(BOXES)
    for start in range(4):  # DOTA's begin at the head of the object, not at the top left
        found = from_corners(np.roll(corners, start, axis=1).reshape(-1, 8))
        for got, box in zip(found, BOXES, strict=True):
            np.testing.assert_allclose(as_set(corners_of(got)), as_set(corners_of(box)), atol=1e-5)
    assert from_corners([[1, 2, 9, 2, 9, 6, 1, 6]]).tolist() == [[5, 4, 8, 4, 0]]
    assert from_corners([]).shape == (0, 5)


def test_detectron2() -> None:
    """Its own formula for corners, of ``RotatedBoxes``."""
    for cx, cy, width, height, angle in from_detectron2(BOXES).tolist():
        theta = np.radians(angle)
        cos, sin = np.cos(theta) / 2, np.sin(theta) / 2
        first = (cx + sin * height + cos * width, cy + cos * height - sin * width)
        second = (cx - sin * height + cos * width, cy - cos * height - sin * width)
        corners = corners_of(np.array([cx, cy, width, height, angle]))
        np.testing.assert_allclose(corners[[2, 1]], [first, second], atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_opencv(3), "rect is 3; expected .*as of cv2.minAreaRect"),
        (lambda: from_opencv(((1, 2), (3, "b"), 4)), "expected .*as of cv2.minAreaRect"),
        (lambda: from_corners([[1, 2, 3]]), r"corners has shape \(1, 3\); expected \(N, 8\)"),
        (lambda: from_detectron2(["a"]), "boxes is no array of numbers"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("element", range(8))
@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, -35.0])
def test_boxes_move_with_their_corners(element: int, tilt_deg: float) -> None:
    for make in (PlaneTransform.from_pose, PlaneTransform.to_canonical):
        transform = make(Pose(element, tilt_deg), (60, 84), "expand")
        moved = transform.rotated_boxes(BOXES)
        for got, corners in zip(
            corners_of(moved), transform.points(corners_of(BOXES)), strict=True
        ):
            np.testing.assert_allclose(as_set(got), as_set(corners), atol=1e-9)
        assert (np.abs(moved[:, 4]) <= 180).all()
        back = transform.inverse().rotated_boxes(moved)
        np.testing.assert_allclose(back[:, :4], BOXES[:, :4], atol=1e-9)
        np.testing.assert_allclose((back[:, 4] - BOXES[:, 4] + 180) % 360, 180, atol=1e-9)


def test_few_angles_keep_their_own_frame() -> None:
    angles = np.array([30.0, -60.0, 10.0, 30.0])
    middles, bins = shared_angles(angles, 3, 0.0)
    assert sorted(middles) == [10, 30]
    assert middles[bins].tolist() == [30, 30, 10, 30]  # -60 is 30, a quarter turn on


def test_like_angles_share_a_frame() -> None:
    middles, bins = shared_angles(np.array([10.0, 14.0, 43.0, -43.0]), 3, 6.0)
    assert middles[bins].tolist() == [12, 12, 45, 45]  # 43 and -43 are neighbours


@pytest.mark.parametrize("seed", range(5))
def test_there_are_at_most_so_many_frames(seed: int) -> None:
    angles = np.random.default_rng(seed).uniform(-400, 400, 50)
    for most in (1, 2, 3):
        middles, bins = shared_angles(angles, most, 0.0)
        assert len(middles) == most
        assert set(bins.tolist()) == set(range(most))
        off = np.abs(residue_deg(angles - middles[bins]))
        assert off.max() <= 45
        if most == 3:
            assert off.max() < 25  # of 90 degrees in three parts, 15 at best
    assert shared_angles(np.zeros(0), 3, 5.0)[1].shape == (0,)
