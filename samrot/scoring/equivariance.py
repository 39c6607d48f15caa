"""How alike the masks of the same instances are in different views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samrot.geometry.rle import RLE, rle_iou


class Equivariance:
    """How alike the masks of the same instances are in different views, in the upright frame."""

    def __init__(self) -> None:
        self.identical: list[bool] = []
        self.ious: list[float] = []

    def update(
        self, masks_by_view: Sequence[Sequence[RLE]], tilts_deg: Sequence[float] | None = None
    ) -> None:
        """Add the instances of one photo.

        Args:
            masks_by_view: masks of each view, those of the same instances in the same order.
            tilts_deg: tilt of each view, 0 by default; only exact turns of one tilt can have
                identical masks.
        """
        tilts_deg = [0.0] * len(masks_by_view) if tilts_deg is None else tilts_deg
        for tilt_deg in dict.fromkeys(tilts_deg):
            pairs = zip(masks_by_view, tilts_deg, strict=True)
            reference, *others = (masks for masks, of_view in pairs if of_view == tilt_deg)
            if others:
                self.identical += [
                    all(masks[i]["counts"] == rle["counts"] for masks in others)
                    for i, rle in enumerate(reference)
                ]
        reference, *others = masks_by_view
        self.ious += [rle_iou(rle, masks[i]) for i, rle in enumerate(reference) for masks in others]

    def compute(self) -> dict[str, float | None]:
        """``identical_masks``: share of (instance, tilt) whose masks are bit-identical in all views
        of that tilt; ``mean_iou``: with the mask of the first view. None without instances.
        """
        return {"identical_masks": mean(self.identical), "mean_iou": mean(self.ious)}


def mean(values: Sequence[float | None]) -> float | None:
    """Mean, or None if there is nothing to average or something in it is undefined."""
    defined = [value for value in values if value is not None]
    if not values or len(defined) < len(values):
        return None
    return float(np.mean(defined))
