"""Clouds of points in space: what is one, how they are turned, and frames from vectors.

Convention: a cloud is (N, 3), z up where up is known, and a rotation Q is a (3, 3) matrix that acts
on each point: ``Qx``. The pose of a cloud is the rotation that brought it from its canonical frame,
so that the canonical cloud is ``R^T x``, and of a cloud turned by Q it is ``Q R``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from samrot.errors import InputError
from samrot.geometry.groups import SO3
from samrot.wording import counted

Array = TypeVar("Array", np.ndarray, Tensor)
MIN_POINTS = 3


def rotation_about_z(angle_rad: float) -> np.ndarray:
    """(3, 3) float64: counter-clockwise seen from above."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


# Scenario -> a rotation drawn from it: none at all, headings, or all of SO(3).
ROTATIONS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "aligned": lambda rng: SO3.identity,
    "z": lambda rng: rotation_about_z(rng.uniform(0.0, 2 * np.pi)),
    "so3": SO3.random,
}


def check_cloud(points: Any, name: str) -> np.ndarray:
    """Refuse what is no cloud of at least three finite points.

    Returns:
        (N, 3) float32.

    Raises:
        InputError: naming the cloud.
    """
    cloud = np.asarray(points)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or cloud.dtype.kind not in "fiu":
        raise InputError(
            f"{name} has shape {cloud.shape} and dtype {cloud.dtype}; expected numbers of shape "
            "(N, 3), a point in each row"
        )
    if len(cloud) < MIN_POINTS:
        raise InputError(
            f"{name} has {counted(len(cloud), 'point')}; expected at least {MIN_POINTS}: fewer "
            "have no rotation, leave it out"
        )
    with np.errstate(over="ignore"):  # to infinity, which is refused
        cloud = cloud.astype(np.float32)
    if not np.isfinite(cloud).all():
        raise InputError(
            f"{name} holds NaN or infinity; expected finite coordinates: mend the file"
        )
    return cloud


def in_unit_ball(cloud: np.ndarray) -> np.ndarray:
    """A cloud, (N, 3), about its mean and scaled into the unit ball; a single place stays at 0."""
    centred = cloud - cloud.mean(axis=0, dtype=np.float64)
    radius = float(np.linalg.norm(centred, axis=1).max())
    return (centred / (radius if radius > 0 else 1.0)).astype(np.float32)


def move_points(points: Array, rotation: Array) -> Array:
    """Turn clouds, (..., N, 3), by rotations, (..., 3, 3)."""
    return points @ rotation.swapaxes(-1, -2)


def rotation_from_vectors(vectors: Tensor) -> Tensor:
    """The frame whose z axis lies along the first vector, and whose x axis leans to the second.

    Gram-Schmidt, and a cross product for the y axis. Turning both vectors by Q turns the frame by
    Q. Where a frame is not determined the law cannot hold, and this stands in: z itself for a first
    vector of length 0, and the coordinate axis furthest from the first vector for a second one of
    length 0 or along it. No rotation holds NaN.

    Args:
        vectors: (..., 2, 3).

    Returns:
        (..., 3, 3), the axes as columns; determinant 1.
    """
    up, side = vectors.unbind(-2)
    axes = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    tolerance = torch.finfo(vectors.dtype).eps ** 0.5
    up_length = up.norm(dim=-1, keepdim=True)
    z_axis = _unit(torch.where(up_length > torch.finfo(vectors.dtype).tiny, up, axes[2]))
    furthest = axes[z_axis.detach().abs().argmin(dim=-1)]
    across = _rejection(side, z_axis)
    known = across.norm(dim=-1, keepdim=True) > tolerance * side.norm(dim=-1, keepdim=True)
    x_axis = _unit(_rejection(_unit(torch.where(known, across, furthest)), z_axis))
    return torch.stack([x_axis, torch.linalg.cross(z_axis, x_axis), z_axis], dim=-1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _rejection(vectors: Tensor, axes: Tensor) -> Tensor:
    """What of the vectors is at right angles to unit vectors."""
    return vectors - (vectors * axes).sum(dim=-1, keepdim=True) * axes
