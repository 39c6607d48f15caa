"""The canvas that a tilted photo lies on: how large it has to be, and where on it the photo is."""

from __future__ import annotations

import numpy as np

from samrot.errors import check_choice
from samrot.geometry.groups import rotation_matrix

PHOTO_FILL = (123.675, 116.28, 103.53)  # SAM's pixel mean: its own padding is this colour
CANVASES = ("same", "expand")


def centre_of(size_hw: tuple[int, int]) -> np.ndarray:
    """(2,) the point about which an image of that (height, width) is tilted, as (x, y)."""
    return np.array([size_hw[1] / 2, size_hw[0] / 2])


def canvas_size(
    size_hw: tuple[int, int],
    tilt_deg: float,
    canvas: str,
    outline_xy: np.ndarray | None = None,
) -> tuple[int, int]:
    """(height, width) of what shows a tilted image.

    Args:
        size_hw: (height, width) of the image.
        tilt_deg: by how much it is tilted, degrees, about its centre.
        canvas: ``same``, its own size; or ``expand``, room for all of the photo.
        outline_xy: (K, 2) points, pixels, which all of the photo lies between; by default the
            corners of the image.
    """
    check_choice("canvas", canvas, CANVASES)
    if canvas == "same" or tilt_deg == 0:
        return size_hw
    if outline_xy is None:
        outline_xy = np.array([(x, y) for x in (0, size_hw[1]) for y in (0, size_hw[0])])
    offsets = (outline_xy - centre_of(size_hw)) @ rotation_matrix(tilt_deg).T
    # Rounded before the ceiling: 10 + 1e-15 pixels are 10.
    wide, tall = np.ceil(np.round(2 * np.abs(offsets).max(axis=0), 6))
    return int(tall), int(wide)


def photo_outline(image: np.ndarray) -> np.ndarray | None:
    """Where the photo ends that lies on a canvas of the colour ``PHOTO_FILL``.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (K, 2) points, pixels, whose convex hull holds all that is of another colour; None for an
        image without such a canvas, or of nothing else.
    """
    beside = np.rint(PHOTO_FILL).astype(image.dtype)
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    if not (corners == beside).all(axis=1).any():
        return None
    of_photo = (image != beside).any(axis=2)
    rows = np.flatnonzero(of_photo.any(axis=1))
    if len(rows) == 0:
        return None
    left = of_photo[rows].argmax(axis=1)
    right = image.shape[1] - of_photo[rows, ::-1].argmax(axis=1)
    ends = [np.stack([x, rows + edge], axis=1) for x in (left, right) for edge in (0, 1)]
    return np.concatenate(ends).astype(np.float64)
