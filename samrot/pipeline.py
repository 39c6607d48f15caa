"""The pipeline: canonicalize, segment, undo. The one place where frames change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from samrot.canonicalizers import Canonicalizer, load_canonicalizer
from samrot.errors import InputError, check_choice
from samrot.geometry.frames import CanonicalFrame
from samrot.geometry.groups import C4
from samrot.segmenters import (
    BatchEncoder,
    Encoding,
    Prompts,
    SamSegmenter,
    Segmentation,
    Segmenter,
)


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
        prompts_per_batch: int,
    ) -> None:
        if prompts_per_batch < 1:
            raise InputError(f"prompts_per_batch is {prompts_per_batch}; expected at least 1")
        self.segmenter: Segmenter = (
            SamSegmenter(segmenter) if isinstance(segmenter, Sam) else segmenter
        )
        if isinstance(canonicalizer, str | Path):
            canonicalizer = load_canonicalizer(canonicalizer, device=str(self.segmenter.device))
        self.canonicalizer = canonicalizer
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
        pose = 0 if pose is None else pose
        check_choice("pose", pose, range(C4.order))
        return CanonicalFrame(int(pose), size_hw, snapped), np.eye(C4.order)[pose]

    def encode(self, images: Sequence[np.ndarray], pose: int | None = None) -> list[CanonicalImage]:
        """Canonicalize and encode images, each (H, W, 3) uint8 RGB; together, if that pays."""
        looks = [self.look_at(image, (image.shape[0], image.shape[1]), pose) for image in images]
        canonical = [
            frame.canonical_image(image) for (frame, _), image in zip(looks, images, strict=True)
        ]
        if isinstance(self.segmenter, BatchEncoder):
            encodings = self.segmenter.encode_batch(canonical)
        else:
            encodings = [self.segmenter.encode(image) for image in canonical]
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
        if frame.pose != 0 or frame.snapped:
            boxes = None if boxes is None else frame.canonical_boxes(boxes)
            points = None if points is None else frame.canonical_points(points)
            masks = None if masks is None else frame.canonical_planes(masks)
        canonical = Prompts(boxes, points, prompts.point_labels, masks)
        total, step = len(prompts), self.prompts_per_batch
        whole: list[Tensor] = []
        start = 0
        while not whole or start < total:
            try:
                found = self.segmenter.decode(
                    image.encoding,
                    canonical[start : start + step],
                    multimask_output=multimask_output,
                    return_logits=return_logits,
                )
            except RuntimeError as error:
                if step == 1 or not _out_of_memory(error):
                    raise
                step //= 2
                self.prompts_per_batch = step
                continue
            turned = (
                frame.user_planes(found.masks),
                found.scores,
                frame.user_planes(found.low_res_logits),
            )
            whole = whole or [part.new_empty((total, *part.shape[1:])) for part in turned]
            for destination, part in zip(whole, turned, strict=True):
                destination[start : start + step] = part
            start += step
        return Segmentation(*whole)


def _out_of_memory(error: RuntimeError) -> bool:
    """Of a GPU, or of the CPU's allocator, which has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
