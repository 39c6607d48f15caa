"""64-bit perceptual fingerprints of photos: was a photo among those that weights were trained on?

A difference hash: the photo in grey, 9 x 8 pixels, and of each pixel whether it is brighter than
its right neighbour. Copies of a photo at another size or quality differ in a few bits at most.
"""

from __future__ import annotations

import base64
import binascii
import warnings
from collections.abc import Iterable

import cv2
import numpy as np

from samrot.errors import InputError
from samrot.wording import counted

WIDTH, HEIGHT = 9, 8
# Of 900 copies of photos at 192 to 400 pixels and WebP qualities 60 to 90, 893 differ in no more
# bits than this, and none of 1,472 other photos from any of 5,990.
MOST_BITS = 3


def fingerprint(image: np.ndarray) -> int:
    """The fingerprint of a photo, (H, W, 3) uint8 RGB."""
    # First to a size at which averaging is exact enough, then to the grid.
    grey = cv2.resize(image.mean(axis=2, dtype=np.float32), (72, 64), interpolation=cv2.INTER_AREA)
    small = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    bits = (small[:, :-1] > small[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def count_known(fingerprints: Iterable[int], known: np.ndarray) -> int:
    """How many photos are among known ones.

    Args:
        fingerprints: fingerprints of the photos.
        known: (N,) uint64.
    """
    table = np.unpackbits(known.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    count = 0
    for number in fingerprints:
        bits = np.unpackbits(np.frombuffer(number.to_bytes(8, "big"), dtype=np.uint8))
        count += bool(((table != bits).sum(axis=1) <= MOST_BITS).any())
    return count


def describe_known(fingerprints: list[int], known: np.ndarray | None, name: str) -> int | None:
    """How many of the photos scored were trained on, said in a warning if there are any.

    Args:
        fingerprints: fingerprints of the photos scored.
        known: (N,) uint64 of those trained on; None where the weights do not say.
        name: what was trained, for the warning.

    Returns:
        Their number; None where it is not known.
    """
    if known is None:
        return None
    count = count_known(fingerprints, known)
    if count:
        warnings.warn(
            f"the {name} was trained on {count} of the {counted(len(fingerprints), 'photo')} "
            "scored; its score on them says little: take other photos",
            stacklevel=3,
        )
    return count


def pack(fingerprints: Iterable[int]) -> str:
    """Fingerprints as text, for the header of a weight file."""
    numbers = np.array(sorted(set(fingerprints)), dtype=">u8")
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def union(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """Fingerprints of both, (N,) uint64; None, not known, where one is not."""
    return None if first is None or second is None else np.union1d(first, second)


def unpack(text: object) -> np.ndarray | None:
    """(N,) uint64 from what ``pack`` made; None, which is not known, from None.

    Raises:
        InputError: if it is something else.
    """
    if text is None:
        return None
    try:
        content = base64.b64decode(str(text), validate=True)
        return np.frombuffer(content, dtype=">u8").astype(np.uint64)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"trained_on is damaged ({error}); expected the fingerprints of photos"
        ) from error
