"""Everything in a photo, segmented in the canonical frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.amg import mask_to_rle_pytorch, rle_to_mask
from torch import from_numpy

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.canonicalizers.base import check_image
from samrot.errors import InputError
from samrot.geometry import actions
from samrot.pipeline import checked_pose
from samrot.predictor import RobustPredictor
from samrot.segmenters import SamSegmenter


class RobustMaskGenerator:
    """A drop-in for ``segment_anything.SamAutomaticMaskGenerator`` that does not mind the turn.

    Args:
        model: a ``segment_anything`` Sam model, or a segmenter that holds one.
        args, kwargs: as of ``SamAutomaticMaskGenerator``.
        canonicalizer: a ``Canonicalizer``, a name or path for ``samrot.load_canonicalizer``, or
            None for the plain generator.

    Raises:
        InputError: if the model is no ``segment_anything`` model, or an argument is off.
    """

    def __init__(
        self,
        model: Sam | SamSegmenter,
        *args: Any,
        canonicalizer: Canonicalizer | str | Path | None = "c4",
        **kwargs: Any,
    ) -> None:
        segmenter = SamSegmenter(model) if isinstance(model, Sam) else model
        if not isinstance(segmenter, SamSegmenter):
            raise InputError(
                f"model is a {type(model).__name__}; expected a segment_anything Sam model, or "
                "samrot.load_segmenter of sam_mini or sam_vit_b, _l, _h"
            )
        try:
            self.generator = SamAutomaticMaskGenerator(segmenter.sam, *args, **kwargs)
        except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"{error}; the arguments are those of SamAutomaticMaskGenerator"
            ) from error
        if self.generator.points_per_batch < 1:
            raise InputError(
                f"points_per_batch is {self.generator.points_per_batch}; expected at least 1"
            )
        # The plain predictor behind samrot's code, which checks images and bounds memory.
        self.generator.predictor = RobustPredictor(segmenter, None)
        self.canonicalizer = as_canonicalizer(canonicalizer, str(segmenter.device))

    def generate(self, image: np.ndarray, *, pose: int | None = None) -> list[dict[str, Any]]:
        """Segment everything in an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            pose: the image's pose if it is known, 0..3; None predicts it.

        Returns:
            Records as of ``SamAutomaticMaskGenerator.generate``, in the frame of the image.

        Raises:
            InputError: if the image is not of that layout.
        """
        check_image(image)
        if pose is None:
            pose = 0 if self.canonicalizer is None else self.canonicalizer.pose(image)
        pose = checked_pose(pose)
        canonical = actions.rotate_image(image, -pose)
        size_hw = (canonical.shape[0], canonical.shape[1])
        return [turn_record(r, pose, size_hw) for r in self.generator.generate(canonical)]


def turn_record(record: dict[str, Any], k: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """A record of the mask generator after k quarter turns of its image.

    Args:
        record: with ``segmentation`` (mask, COCO RLE or uncompressed RLE), ``bbox``, ``crop_box``
            and ``point_coords``; all else is kept.
        size_hw: of the image before the turn.
    """
    if k == 0:
        return record
    x, y, width, height = record["bbox"]
    # The generator's boxes end at the index of their last pixel.
    corners = actions.rotate_pixels(np.array([[x, y], [x + width, y + height]]), k, size_hw)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    if record["area"] == 0:
        left = top = right = bottom = 0  # as the generator has it
    x, y, width, height = record["crop_box"]
    crop_xyxy = actions.rotate_boxes(np.array([x, y, x + width, y + height]), k, size_hw)
    crop = [int(edge) for edge in crop_xyxy]
    return {
        **record,
        "segmentation": _turn_segmentation(record["segmentation"], k),
        "bbox": [left, top, right - left, bottom - top],
        "crop_box": [crop[0], crop[1], crop[2] - crop[0], crop[3] - crop[1]],
        "point_coords": actions.rotate_points(record["point_coords"], k, size_hw).tolist(),
    }


def _turn_segmentation(segmentation: Any, k: int) -> Any:
    if isinstance(segmentation, np.ndarray):
        return actions.rotate_image(segmentation, k)
    if isinstance(segmentation["counts"], list):
        mask = actions.rotate_image(rle_to_mask(segmentation), k)
        return mask_to_rle_pytorch(from_numpy(mask)[None])[0]
    return actions.rotate_rle(segmentation, k)
