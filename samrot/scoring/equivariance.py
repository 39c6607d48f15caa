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

    def update(self, masks_by_view: Sequence[Sequence[RLE]]) -> None:
        """Add the instances of one photo.

        Args:
            masks_by_view: masks of each view, those of the same instances in the same order.
        """
        reference, *others = masks_by_view
        for i, rle in enumerate(reference):
            self.identical.append(all(masks[i]["counts"] == rle["counts"] for masks in others))
            self.ious += [rle_iou(rle, masks[i]) for masks in others]

    def compute(self) -> dict[str, float | None]:
        """``identical_masks``: share of instances whose masks are bit-identical in all views;
        ``mean_iou``: with the mask of the first view. None without instances.
        """
        return {"identical_masks": mean(self.identical), "mean_iou": mean(self.ious)}


def mean(values: Sequence[float | None]) -> float | None:
    """Mean, or None if there is nothing to average or something in it is undefined."""
    defined = [value for value in values if value is not None]
    if not values or len(defined) < len(values):
        return None
    return float(np.mean(defined))
