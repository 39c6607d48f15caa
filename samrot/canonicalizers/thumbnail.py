"""What a canonicalizer looks at: small squares that commute with quarter turns to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from samrot.errors import check_choice, check_count

FRAMES = ("square", "squares", "letterbox")
FILL = 124.0  # letterbox bars: about the mean of photographs
_WEIGHT_BITS = 20
_VALUES_AT_ONCE = 2**16  # that are multiplied: what a cache holds


@dataclass(frozen=True)
class Thumbnail:
    """Area-average a photo to one or three views of size x size.

    ``square`` samples the centred square of the shorter side, so the aspect ratio stays hidden;
    ``squares`` samples three such squares, at the start, in the middle and at the end of the longer
    side, which together show the whole photo, and none its aspect ratio; ``letterbox`` samples the
    whole photo in a square of the longer side, bars filled with grey, so landscape and portrait can
    be told apart. The squares lie in continuous coordinates: an integer centred crop would be half
    a pixel off when height and width differ in parity.

    The averaging weights are mirror-symmetric multiples of 2^-20. With uint8 pixels every product
    and every partial sum is then exact in float64, whatever the order of summation, so
    every view of ``rot90(image)`` is a view of ``image`` turned, bit for bit.
    """

    size: int
    frame: str = "square"

    def __post_init__(self) -> None:
        check_choice("frame", self.frame, FRAMES)
        check_count("thumbnail size", self.size, 1, 1024)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Sample one image.

        Args:
            image: (H, W, 3) uint8 RGB; floats are taken as they are, exact only to rounding.

        Returns:
            (V, 3, size, size) float64, in the units of the image. Turning the image turns each
            view, and may list the views in reverse.
        """
        height, width = image.shape[:2]
        side = max(height, width) if self.frame == "letterbox" else min(height, width)
        places = (-1, 0, 1) if self.frame == "squares" else (0,)
        return np.stack([self._sample(image, side, place) for place in places])

    def of_tensor(self, images: Tensor) -> Tensor:
        """Sample a batch for training; exact only to rounding, and gradients pass through.

        Args:
            images: (B, 3, H, W) float, of one size.

        Returns:
            (B, 3, size, size), in the units of the images; of ``squares`` the middle one.
        """
        height, width = images.shape[-2:]
        side = max(height, width) if self.frame == "letterbox" else min(height, width)
        rows, row_start, row_stop = area_weights(height, side, self.size, 0)
        columns, column_start, column_stop = area_weights(width, side, self.size, 0)
        seen = images[..., row_start:row_stop, column_start:column_stop]
        of_rows, of_columns = (torch.from_numpy(weights).to(seen) for weights in (rows, columns))
        sampled = of_rows @ seen @ of_columns.T
        if self.frame != "letterbox":
            return sampled
        return sampled + (1.0 - torch.outer(of_rows.sum(dim=1), of_columns.sum(dim=1))) * FILL

    def _sample(self, image: np.ndarray, side: int, place: int) -> np.ndarray:
        height, width = image.shape[:2]
        rows = _area_windows(height, side, self.size, place)
        columns = _area_windows(width, side, self.size, place)
        seen = image[rows.start : rows.stop, columns.start : columns.stop]
        # (size, w, 3), then its columns first: (size, size, 3) of columns, rows, channels.
        of_rows = torch.from_numpy(_averaged(rows, seen))
        across = of_rows.transpose(0, 1).contiguous().numpy()  # numpy's copy takes thrice as long
        sampled = _averaged(columns, across).transpose(2, 1, 0)
        if self.frame != "letterbox":
            return sampled
        covered = np.outer(rows.weights.sum(axis=1), columns.weights.sum(axis=1))
        return sampled + (1.0 - covered) * FILL


class _Windows(NamedTuple):
    """What each of B bins averages on one axis: K pixels side by side.

    Args:
        weights: (B, K) float64, of those pixels.
        places: (B, K) int, which pixels they are, from ``start``.
        start, stop: range of pixels that any bin weighs.
    """

    weights: np.ndarray
    places: np.ndarray
    start: int
    stop: int


@lru_cache(maxsize=256)
def _area_windows(length: int, side: int, size: int, place: int) -> _Windows:
    """The few weights of ``area_weights`` that are not 0; arguments as there."""
    weights, start, stop = area_weights(length, side, size, place)
    is_used = weights != 0
    first = is_used.argmax(axis=1)
    after_last = weights.shape[1] - is_used[:, ::-1].argmax(axis=1)
    span = max(int(np.where(is_used.any(axis=1), after_last - first, 0).max()), 1)
    places = np.minimum(first, weights.shape[1] - span)[:, None] + np.arange(span)
    return _Windows(np.take_along_axis(weights, places, axis=1), places, start, stop)


def _averaged(bins: _Windows, values: np.ndarray) -> np.ndarray:
    """The averages, (B, ...) float64, of values, (stop - start, ...), in B bins.

    Not by BLAS, whose threads would wait for those of torch, and a thumbnail take thrice as long.
    """
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    averaged = np.empty((len(bins.places), rows.shape[1]))
    bins_at_once = max(_VALUES_AT_ONCE // (bins.places.shape[1] * rows.shape[1]), 1)
    for start in range(0, len(averaged), bins_at_once):
        some = slice(start, start + bins_at_once)
        seen = rows[bins.places[some]].astype(np.float64)
        np.einsum("bk,bkn->bn", bins.weights[some], seen, out=averaged[some])
    return averaged.reshape(len(averaged), *values.shape[1:])


@lru_cache(maxsize=256)
def area_weights(length: int, side: int, size: int, place: int) -> tuple[np.ndarray, int, int]:
    """Weights that average an interval of ``side`` pixels into ``size`` bins, on one axis.

    Args:
        length: pixels of the axis; the interval may be longer, and nothing lies beyond the axis.
        side: length of the interval, pixels.
        size: number of bins.
        place: where the interval lies: -1 at the start of the axis, 0 in its middle, 1 at its end.

    Returns:
        (size, stop - start) float64, and the range of pixels that it weighs. Row i sums to the
        share of bin i that lies on the axis (1 to rounding at 2^-20 where side <= length).
    """
    if place == 1:  # the mirror image of the start, to the bit
        weights, start, stop = area_weights(length, side, size, -1)
        return np.ascontiguousarray(weights[::-1, ::-1]), length - stop, length - start
    bin_width = side / size
    edges = np.arange(size + 1) * bin_width
    if place == 0:
        edges = edges - side / 2 + length / 2
    pixels = np.arange(length)
    left = np.maximum(edges[:-1, None], pixels[None, :])
    right = np.minimum(edges[1:, None], pixels[None, :] + 1)
    weights = np.clip(right - left, 0.0, None) / bin_width
    if place == 0 or side == length:  # its own mirror image, to the bit
        weights = (weights + weights[::-1, ::-1]) / 2
    weights = np.round(weights * 2**_WEIGHT_BITS) / 2**_WEIGHT_BITS
    used = np.flatnonzero(weights.any(axis=0))
    start, stop = int(used[0]), int(used[-1]) + 1
    return np.ascontiguousarray(weights[:, start:stop]), start, stop
