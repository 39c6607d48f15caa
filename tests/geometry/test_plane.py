"""The laws of ``PlaneTransform``: exact under D4, and the warp against plain numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.canvas import photo_outline
from samrot.geometry.groups import D4, rotation_matrix
from samrot.geometry.plane import (
    LOGIT_FILL,
    PlaneTransform,
    snap_to_grid,
    xywh_to_xyxy,
)
from samrot.geometry.pose import Pose
from samrot.geometry.rle import decode_mask, encode_mask

SIZES = [(5, 8), (8, 5), (6, 6), (7, 7), (1, 1), (1, 6), (10, 4)]
TILTS = [0.0, 15.0, -30.0, 45.0, 77.5]


def payloads(size_hw: tuple[int, int]) -> dict[str, Any]:
    """One of everything that can lie on an image, empties and degenerate boxes among it."""
    rng = np.random.default_rng(size_hw)
    height, width = size_hw
    corners = rng.integers(0, 64 * np.array([width, height]) + 1, (2, 6, 2)) / 64
    boxes = np.concatenate([corners.min(axis=0), corners.max(axis=0)], axis=1)
    boxes[0, 2:] = boxes[0, :2]  # a point
    boxes[1, 2] = boxes[1, 0]  # a line
    boxes[2] = (-3.5, -2.0, width + 4.25, height + 1.0)  # beyond the edges
    masks = rng.random((3, *size_hw)) > 0.5
    masks[0] = False
    return {
        "image": rng.integers(0, 255, (*size_hw, 3), dtype=np.uint8),
        "masks": masks,
        "logits": torch.from_numpy(rng.normal(size=(2, 3, *size_hw))),
        "points": corners[0],
        "boxes": boxes,
    }


def empties(size_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "masks": np.zeros((0, *size_hw), dtype=bool),
        "logits": torch.zeros(0, 3, *size_hw),
        "points": np.zeros((0, 2)),
        "boxes": np.zeros((0, 4)),
    }


def same(first: Any, second: Any) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("given", [payloads, empties])
def test_the_law_is_exact(size_hw: tuple[int, int], given: Any) -> None:
    """For all of D4 and every payload: acting twice is acting by the product, inverses undo."""
    items = given(size_hw)
    for g, h in itertools.product(range(8), range(8)):
        first = PlaneTransform.from_pose(Pose(h), size_hw)
        second = PlaneTransform.from_pose(Pose(g), first.target_hw)
        both = PlaneTransform.from_pose(Pose(D4.compose(g, h)), size_hw)
        assert first.then(second) == both
        assert first.then(first.inverse()).is_identity
        for name, item in items.items():
            kept = item.clone() if isinstance(item, torch.Tensor) else item.copy()
            moved = getattr(first, name)(item)
            assert same(getattr(second, name)(moved), getattr(both, name)(item)), name
            assert same(getattr(first.inverse(), name)(moved), item), name
            assert same(item, kept), f"{name} was mutated"


@pytest.mark.parametrize("element", range(8))
def test_payloads_move_together(element: int) -> None:
    """A box is where its mask is, a mask where its pixels are."""
    items = payloads((5, 8))
    transform = PlaneTransform.from_pose(Pose(element), (5, 8))
    mask = np.zeros((5, 8), dtype=bool)
    mask[1:3, 2:6] = True
    rows, columns = np.nonzero(transform.masks(mask))
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert transform.boxes(np.array([2.0, 1.0, 6.0, 3.0])).tolist() == found
    for channel in range(3):
        plane = items["image"][..., channel]
        assert same(transform.masks(plane), transform.image(items["image"])[..., channel])
        assert same(transform.logits(torch.from_numpy(plane.copy())), transform.masks(plane))
    rle = encode_mask(items["masks"][1])
    assert same(decode_mask(transform.rle(rle)), transform.masks(items["masks"][1]))
    as_bytes = {**rle, "counts": str(rle["counts"]).encode()}
    assert transform.rle(as_bytes)["counts"] == str(transform.rle(rle)["counts"]).encode()


def reference_warp(
    plane: np.ndarray, transform: PlaneTransform, fill: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear and nearest, pixel by pixel, in plain numpy, by the matrix alone."""
    (height, width), (new_height, new_width) = transform.source_hw, transform.target_hw
    back = np.linalg.inv(transform.matrix)
    smooth, nearest = np.full((2, new_height, new_width), fill)
    padded = np.pad(plane, 1, mode="edge")
    for row, column in np.ndindex(new_height, new_width):
        offset = np.array([column + 0.5 - new_width / 2, row + 0.5 - new_height / 2])
        x, y = back @ offset + (width / 2, height / 2)
        if -1e-9 <= x <= width + 1e-9 and -1e-9 <= y <= height + 1e-9:
            at = min(int(y + 1e-9), height - 1), min(int(x + 1e-9), width - 1)
            tied = np.abs(np.array([x, y]) - np.rint([x, y])).min() < 1e-9
            nearest[row, column] = np.nan if tied else plane[at]
            left, top = np.floor([x - 0.5, y - 0.5]).astype(int)
            u, v = x - 0.5 - left, y - 0.5 - top
            window = padded[top + 1 : top + 3, left + 1 : left + 3]
            weights = np.outer([1 - v, v], [1 - u, u])[: window.shape[0], : window.shape[1]]
            smooth[row, column] = (window * weights).sum()
    return smooth, nearest


@pytest.mark.parametrize("size_hw", [(9, 14), (8, 5), (7, 7)])
@pytest.mark.parametrize("canvas", ["same", "expand"])
@pytest.mark.parametrize("tilt_deg", [13.7, -31.0, 44.0, 61.3])
@pytest.mark.parametrize("element", [0, 1, 3, 4, 6, 7])
def test_the_warp_against_plain_numpy(
    size_hw: tuple[int, int], canvas: str, tilt_deg: float, element: int
) -> None:
    plane = np.random.default_rng(3).normal(size=size_hw)
    pose = Pose(element, tilt_deg)
    there = PlaneTransform.from_pose(pose, size_hw, canvas)
    for transform in (there, PlaneTransform.to_canonical(pose, size_hw, canvas)):
        smooth, _ = reference_warp(plane, transform, 0.25)
        found = transform.logits(torch.from_numpy(plane), 0.25).numpy()
        np.testing.assert_allclose(found, smooth, rtol=0, atol=1e-9)
        image = transform.image(np.repeat(plane[..., None], 3, axis=2), (0.25,) * 3)
        np.testing.assert_allclose(image[..., 1], smooth, rtol=0, atol=1e-9)
        _, by_index = reference_warp((plane > 0).astype(float), transform, 0.0)
        known = ~np.isnan(by_index)  # between two pixels, either of them will do
        assert same(transform.masks(plane > 0)[known], by_index[known] > 0.5)


@pytest.mark.parametrize("tilt_deg", TILTS)
@pytest.mark.parametrize("element", range(8))
def test_points_go_by_the_matrix_and_come_back(element: int, tilt_deg: float) -> None:
    size_hw, pose = (9, 14), Pose(element, tilt_deg)
    points = np.random.default_rng(4).uniform(-2, 16, (7, 2))
    for transform in (
        PlaneTransform.from_pose(pose, size_hw, "expand"),
        PlaneTransform.to_canonical(pose, size_hw),
    ):
        moved = transform.points(points)
        (height, width), (new_height, new_width) = transform.source_hw, transform.target_hw
        expected = (points - (width / 2, height / 2)) @ transform.matrix.T
        centre = np.array([new_width, new_height]) / 2
        np.testing.assert_allclose(moved, expected + centre, atol=1e-9)
        np.testing.assert_allclose(transform.inverse().points(moved), points, atol=1e-9)


@pytest.mark.parametrize("tilt_deg", [20.0, -40.0, 65.0])
@pytest.mark.parametrize("element", [0, 3, 5])
def test_boxes_of_tilted_objects(element: int, tilt_deg: float) -> None:
    """The hull holds the corners, the ellipse the inscribed ellipse, both of them tightly."""
    transform = PlaneTransform.from_pose(Pose(element, tilt_deg), (30, 40), "expand")
    box = np.array([5.0, 8.0, 25.0, 14.0])
    corners = np.array([[5, 8], [25, 8], [25, 14], [5, 14]], dtype=float)
    turn = np.linspace(0, 2 * np.pi, 100_000)
    ellipse = np.stack([15 + 10 * np.cos(turn), 11 + 3 * np.sin(turn)], axis=1)
    for how, outline in (("hull", corners), ("ellipse", ellipse)):
        moved = transform.points(outline)
        expected = [*moved.min(axis=0), *moved.max(axis=0)]
        np.testing.assert_allclose(transform.boxes(box, how), expected, atol=1e-6)
    point = np.array([7.0, 9.0, 7.0, 9.0])
    np.testing.assert_allclose(transform.boxes(point)[:2], transform.points(point[:2]), atol=1e-9)
    with pytest.raises(InputError, match="boxes how is 'tight'; expected one of: ellipse, hull"):
        transform.boxes(box, "tight")


@pytest.mark.parametrize("first", [Pose(1, 15.0), Pose(4, -20.0), Pose(6, 0.0), Pose(0, 50.0)])
@pytest.mark.parametrize("second", [Pose(2, 25.0), Pose(5, -15.0), Pose(3, 0.0)])
def test_two_in_a_row_are_one(first: Pose, second: Pose) -> None:
    here = PlaneTransform.from_pose(first, (30, 44), "expand")
    there = PlaneTransform.from_pose(second, here.target_hw, "expand")
    both = here.then(there)
    np.testing.assert_allclose(both.matrix, there.matrix @ here.matrix, atol=1e-12)
    points = np.random.default_rng(5).uniform(0, 30, (5, 2))
    np.testing.assert_allclose(both.points(points), there.points(here.points(points)), atol=1e-9)
    assert both.source_hw == (30, 44)
    assert both.target_hw == there.target_hw


def test_a_tilt_and_its_opposite_leave_the_pixels_alone() -> None:
    image = payloads((30, 44))["image"]
    there = PlaneTransform.from_pose(Pose(3, 20.0), (30, 44), "expand")
    assert there.then(there.inverse()).is_identity
    assert same(there.then(there.inverse()).image(image), image)


@pytest.mark.parametrize("element", range(8))
@pytest.mark.parametrize("tilt_deg", [12.0, -33.0])
def test_an_orbit_shares_its_canonical_image_to_the_byte(element: int, tilt_deg: float) -> None:
    """The exact part is undone first, so all that is left to resample is the same pixels."""
    photo = payloads((21, 30))["image"]
    moved = PlaneTransform.from_pose(Pose(element), (21, 30)).image(photo)
    pose = Pose(element, tilt_deg)
    back = PlaneTransform.to_canonical(pose, (moved.shape[0], moved.shape[1]), "expand")
    upright = PlaneTransform.to_canonical(Pose(0, tilt_deg), (21, 30), "expand")
    assert same(back.image(moved), upright.image(photo))
    logits = torch.randn(2, *upright.target_hw)
    expected = PlaneTransform.from_pose(Pose(element), (21, 30)).logits(
        upright.inverse().logits(logits)
    )
    assert torch.equal(back.inverse().logits(logits), expected)


@pytest.mark.parametrize("tilt_deg", [30.0, -45.0])
def test_what_lies_outside_is_filled_and_never_masked(tilt_deg: float) -> None:
    transform = PlaneTransform.from_pose(Pose(1, tilt_deg), (20, 30), "expand")
    outside = transform.masks(np.ones((20, 30), dtype=bool)) == 0
    assert outside.any()
    assert outside[0, 0]
    filled = transform.image(np.full((20, 30, 3), 7, dtype=np.uint8))
    assert same(np.unique(filled[outside], axis=0), [[124, 116, 104]])
    assert same(np.unique(filled[~outside]), [7])
    logits = transform.logits(torch.full((20, 30), 9.0)).numpy()
    assert same(np.unique(logits[outside]), [LOGIT_FILL])
    # Expanding keeps all of the photo: the corners are on the canvas.
    corners = transform.points(np.array([[0.0, 0.0], [30.0, 0.0], [30.0, 20.0], [0.0, 20.0]]))
    assert (corners > -1e-6).all()
    assert (corners < np.array(transform.target_hw[::-1]) + 1e-6).all()


@pytest.mark.parametrize("tilt_deg", [15.0, -30.0, 45.0])
def test_a_canvas_is_not_made_larger_twice(tilt_deg: float) -> None:
    photo = np.random.default_rng(0).integers(0, 100, (60, 90, 3), dtype=np.uint8)
    there = PlaneTransform.from_pose(Pose(0, tilt_deg), (60, 90), "expand")
    sizes = []
    for element in range(4):
        view = exact.move_image(there.image(photo), element)
        pose, view_hw = Pose(element, tilt_deg), (view.shape[0], view.shape[1])
        outline = photo_outline(view)
        back = PlaneTransform.to_canonical(pose, view_hw, "expand", outline)
        assert outline is not None
        moved = back.points(outline) - np.array(back.target_hw[::-1]) / 2
        assert 2 * np.abs(moved).max(axis=0) == pytest.approx(back.target_hw[::-1], abs=1)
        sizes.append(back.target_hw)
        assert PlaneTransform.to_canonical(pose, view_hw, "expand").target_hw > (80, 110)
    assert len(set(sizes)) == 1
    # One pixel at each edge is mixed with the canvas.
    assert 60 <= sizes[0][0] <= 63
    assert 90 <= sizes[0][1] <= 93


def test_outlines() -> None:
    canvas = np.full((7, 9, 3), (124, 116, 104), np.uint8)
    assert photo_outline(canvas) is None
    canvas[2:4, 5:8] = 0
    found = photo_outline(canvas)
    assert found is not None
    assert (*found.min(axis=0), *found.max(axis=0)) == (5, 2, 8, 4)
    assert photo_outline(np.zeros((3, 3, 3), np.uint8)) is None


def test_there_and_back_keeps_a_smooth_image() -> None:
    y, x = np.mgrid[:60, :80]
    image = (127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7)).astype(np.uint8)[..., None]
    there = PlaneTransform.from_pose(Pose(2, 25.0), (60, 80), "expand")
    back = there.inverse().image(there.image(image, (0,)), (0,))
    difference = np.abs(back.astype(int) - image)[2:-2, 2:-2]
    assert difference.mean() < 1.5


def test_gradients_pass_through() -> None:
    logits = torch.randn(2, 6, 8, dtype=torch.float64, requires_grad=True)
    transform = PlaneTransform.from_pose(Pose(5, 20.0), (6, 8), "expand")
    assert torch.autograd.gradcheck(transform.logits, (logits,))


def test_a_quarter_turn_given_as_a_tilt() -> None:
    """Not exact by its type, but the same pixels."""
    image = payloads((6, 9))["image"]
    by_warp = PlaneTransform((6, 9), (9, 6), tilt_deg=90.0)
    assert not by_warp.is_exact
    assert same(by_warp.image(image), PlaneTransform.from_pose(Pose(1), (6, 9)).image(image))
    np.testing.assert_array_equal(rotation_matrix(90), D4.matrix(1))


def test_sizes_are_checked() -> None:
    transform = PlaneTransform.from_pose(Pose(1), (5, 8))
    with pytest.raises(InputError, match=r"image is \(8, 5\) \(height, width\); the transform is"):
        transform.image(np.zeros((8, 5, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"for images of \(5, 8\), but the first makes \(8, 5\)"):
        transform.then(transform)
    with pytest.raises(InputError, match="canvas is 'crop'; expected one of: same, expand"):
        PlaneTransform.from_pose(Pose(0, 3.0), (5, 8), "crop")


def test_the_grid_makes_moved_coordinates_equal() -> None:
    x = np.random.default_rng(2).uniform(0, 640, (1000, 2)).round(2)
    there_and_back = 640.0 - (640.0 - x)
    assert not np.array_equal(there_and_back, x)  # why the grid is needed
    assert np.array_equal(snap_to_grid(there_and_back), snap_to_grid(x))


def test_coco_boxes() -> None:
    assert xywh_to_xyxy([[1, 2, 3, 4]]).tolist() == [[1.0, 2.0, 4.0, 6.0]]
    assert xywh_to_xyxy([]).shape == (0, 4)
