"""The pipeline: canonicalize, segment, undo. The one place where prompts change frames."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from segment_anything.modeling import Sam
from torch import Tensor

from samrot.batches import in_batches
from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError
from samrot.geometry.frames import CanonicalFrame
from samrot.geometry.groups import C4
from samrot.segmenters import (
    Encoding,
    Prompts,
    SamSegmenter,
    Segmentation,
    Segmenter,
    encode_together,
)

PROMPTS_PER_BATCH = 16


@dataclass(frozen=True)
class CanonicalImage:
    """An image as the segmenter knows it.

    Args:
        frame: how the user's image lies in the canonical one.
        encoding: of the canonical image.
        probabilities: (4,) float64, of each pose; one-hot where the pose was given.
    """

    frame: CanonicalFrame
    encoding: Encoding
    probabilities: np.ndarray


class Pipeline:
    """Canonicalizer and segmenter together, without state between calls.

    Args:
        segmenter: from ``samrot.load_segmenter``, or a ``segment_anything`` Sam model.
        canonicalizer: a ``Canonicalizer``, a name or path for ``samrot.load_canonicalizer``, or
            None for the plain segmenter through the same code.
        prompts_per_batch: prompts decoded at once, which bounds memory.
    """

    def __init__(
        self,
        segmenter: Segmenter | Sam,
        canonicalizer: Canonicalizer | str | Path | None,
        *,
        prompts_per_batch: int = PROMPTS_PER_BATCH,
    ) -> None:
        if prompts_per_batch < 1:
            raise InputError(f"prompts_per_batch is {prompts_per_batch}; expected at least 1")
        if not isinstance(segmenter, Sam) and not hasattr(segmenter, "decode"):
            raise InputError(
                f"segmenter is a {type(segmenter).__name__}; expected what samrot.load_segmenter "
                "returns, or a segment_anything Sam model"
            )
        self.segmenter: Segmenter = (
            SamSegmenter(segmenter) if isinstance(segmenter, Sam) else segmenter
        )
        self.canonicalizer = as_canonicalizer(canonicalizer, str(self.segmenter.device))
        self.prompts_per_batch = prompts_per_batch

    def look_at(
        self, image: np.ndarray, size_hw: tuple[int, int], pose: int | None
    ) -> tuple[CanonicalFrame, np.ndarray]:
        """The frame of an image, and the probability of each pose.

        Args:
            image: (H, W, 3) uint8 RGB, what the canonicalizer is shown.
            size_hw: of the image in the user's frame.
            pose: if it is known; None predicts it.
        """
        snapped = self.canonicalizer is not None or pose is not None
        if pose is None and self.canonicalizer is not None:
            prediction = self.canonicalizer.predict(image)
            return CanonicalFrame(prediction.pose, size_hw, snapped), prediction.probabilities
        pose = 0 if pose is None else checked_pose(pose)
        return CanonicalFrame(pose, size_hw, snapped), np.eye(C4.order)[pose]

    def encode(
        self, images: Sequence[np.ndarray], poses: Sequence[int | None]
    ) -> list[CanonicalImage]:
        """Canonicalize and encode images, each (H, W, 3) uint8 RGB; together, if that pays.

        Args:
            images: of any sizes.
            poses: of each, if it is known; None predicts it.
        """
        looks = [
            self.look_at(image, (image.shape[0], image.shape[1]), pose)
            for image, pose in zip(images, poses, strict=True)
        ]
        canonical = [
            frame.canonical_image(image) for (frame, _), image in zip(looks, images, strict=True)
        ]
        encodings = encode_together(self.segmenter, canonical)
        return [
            CanonicalImage(frame, encoding, probabilities)
            for (frame, probabilities), encoding in zip(looks, encodings, strict=True)
        ]

    def decode(
        self,
        image: CanonicalImage,
        prompts: Prompts,
        *,
        multimask_output: bool,
        return_logits: bool,
    ) -> Segmentation:
        """Segment B prompts, B may be 0; prompts and result are in the user's frame.

        A batch of prompts at a time is decoded, turned, and written into what is returned, so that
        nothing but the result grows with B. Where memory does not suffice, batches are halved.
        """
        frame = image.frame
        boxes, points, masks = prompts.boxes_xyxy, prompts.point_coords, prompts.mask_inputs
        if frame.snapped:  # else the pose is 0, and prompts pass untouched
            boxes = None if boxes is None else frame.canonical_boxes(boxes)
            points = None if points is None else frame.canonical_points(points)
            masks = None if masks is None else frame.canonical_planes(masks)
        canonical = Prompts(boxes, points, prompts.point_labels, masks)
        whole: list[Tensor] = []

        def decode_batch(batch: slice) -> None:
            found = self.segmenter.decode(
                image.encoding,
                canonical[batch],
                multimask_output=multimask_output,
                return_logits=return_logits,
            )
            turned = (
                frame.user_planes(found.masks),
                found.scores,
                frame.user_planes(found.low_res_logits),
            )
            if not whole:
                whole.extend(part.new_empty((len(prompts), *part.shape[1:])) for part in turned)
            for destination, part in zip(whole, turned, strict=True):
                destination[batch] = part

        in_batches(decode_batch, len(prompts), self.prompts_per_batch)
        return Segmentation(*whole)


def checked_pose(pose: object) -> int:
    """A pose as an int.

    Raises:
        InputError: if it is none.
    """
    try:
        index = -1 if isinstance(pose, bool) else operator.index(pose)  # type: ignore[arg-type]
    except TypeError:
        index = -1
    if index not in range(C4.order):
        raise InputError(f"pose is {pose!r}; expected one of: 0, 1, 2, 3")
    return index
