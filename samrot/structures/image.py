"""What an image must look like at the user's edge."""

from __future__ import annotations

import numpy as np

from samrot.errors import InputError


def check_image(image: object) -> None:
    """Refuse anything that is not an (H, W, 3) uint8 array with at least one pixel.

    Raises:
        InputError
    """
    remedy = "pass an RGB array, for example samrot.read_image(path)"
    if not isinstance(image, np.ndarray):
        raise InputError(f"image is a {type(image).__name__}; expected a numpy array; {remedy}")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"image has shape {image.shape}; expected (H, W, 3), not empty; {remedy}")
    if image.dtype != np.uint8:
        raise InputError(f"image has dtype {image.dtype}; expected uint8; {remedy}")
