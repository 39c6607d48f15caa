"""Rotations of clouds, and frames from vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samrot.errors import InputError
from samrot.geometry.groups import SO3
from samrot.geometry.space import (
    ROTATIONS,
    check_cloud,
    in_unit_ball,
    move_points,
    rotation_about_z,
    rotation_from_vectors,
)


@pytest.mark.parametrize("kind", ROTATIONS)
def test_rotations_are_seeded_and_proper(kind: str) -> None:
    drawn = [ROTATIONS[kind](np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(*drawn)
    np.testing.assert_allclose(drawn[0] @ drawn[0].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(drawn[0]) == pytest.approx(1)
    assert (drawn[0][2, 2] == 1) == (kind != "so3")


def test_a_quarter_turn_about_z_brings_x_to_y() -> None:
    moved = move_points(np.array([[1.0, 0.0, 5.0]]), rotation_about_z(np.pi / 2))
    np.testing.assert_allclose(moved, [[0, 1, 5]], atol=1e-12)


def test_points_are_moved_alike_by_numpy_and_torch() -> None:
    rng = np.random.default_rng(0)
    cloud, rotation = rng.normal(size=(7, 3)), SO3.random(rng)
    moved = move_points(cloud, rotation)
    np.testing.assert_allclose(moved[2], rotation @ cloud[2])
    batched = move_points(torch.from_numpy(cloud)[None], torch.from_numpy(rotation)[None])
    np.testing.assert_allclose(batched[0], moved)
    np.testing.assert_allclose(move_points(moved, SO3.inverse(rotation)), cloud)


def test_frames_turn_with_their_vectors() -> None:
    rng = np.random.default_rng(1)
    vectors = torch.from_numpy(rng.normal(size=(20, 2, 3)))
    turn = torch.from_numpy(SO3.random(rng))
    frames = rotation_from_vectors(vectors)
    torch.testing.assert_close(rotation_from_vectors(vectors @ turn.T), turn @ frames)
    torch.testing.assert_close(frames.mT @ frames, torch.eye(3).double().expand(20, 3, 3))
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(20).double())
    along = vectors[:, 0] / vectors[:, 0].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(frames[..., 2], along)
    assert bool(((frames[..., 0] * vectors[:, 1]).sum(-1) > 0).all())


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        ([[0.0, 0, 0], [0, 0, 0]], np.eye(3)),
        ([[0.0, 0, 2], [0, 0, -1]], np.eye(3)),
        ([[0.0, 0, 0], [0, 3, 0]], rotation_about_z(np.pi / 2)),
        ([[5.0, 0, 0], [1, 0, 0]], np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])),
    ],
)
def test_what_stands_in_for_a_frame_that_is_not_determined(
    vectors: list[list[float]], expected: np.ndarray
) -> None:
    given = torch.tensor(vectors, requires_grad=True)
    frame = rotation_from_vectors(given)
    np.testing.assert_allclose(frame.detach(), expected, atol=1e-6)
    frame.sum().backward()
    assert given.grad is not None and bool(given.grad.isfinite().all())


def test_the_unit_ball() -> None:
    ball = in_unit_ball(np.random.default_rng(0).normal(size=(30, 3)) * 7 + 100)
    assert np.linalg.norm(ball, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(ball.mean(axis=0), 0, atol=1e-6)
    assert np.array_equal(in_unit_ball(np.full((4, 3), 0.3)), np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            np.zeros((5, 2)),
            r"cloud 3 has shape \(5, 2\) and dtype float64; expected numbers of sha",
        ),
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([["a"] * 3] * 4), "dtype <U1"),
        (np.zeros((1, 3)), "cloud 3 has 1 point; expected at least 3"),
        (np.full((4, 3), np.nan), "cloud 3 holds NaN or infinity"),
        (np.full((4, 3), 1e300), "cloud 3 holds NaN or infinity"),
    ],
)
def test_what_is_no_cloud(points: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_cloud(points, "cloud 3")
