"""Work shared between the turns of one photo, found by content."""

from __future__ import annotations

import numpy as np
import torch

from samrot.segmenters.base import Encoding, Segmentation, Segmenter
from samrot.segmenters.prompts import Prompts


class MemoSegmenter:
    """A segmenter that answers a repeated question from memory.

    Under an equivariant canonicalizer all turns of a photo arrive here as the same canonical image
    with the same prompts. That they are the same is compared, byte for byte, never assumed.

    Args:
        segmenter: does the work.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.name = segmenter.name
        self.predicts_scores = segmenter.predicts_scores
        self._encodings: dict[bytes, Encoding] = {}
        self._segmentations: dict[tuple[int, bytes], Segmentation] = {}

    def clear(self) -> None:
        """Forget everything: call it after each photo, since memory is not bounded otherwise."""
        self._encodings.clear()
        self._segmentations.clear()

    @property
    def device(self) -> torch.device:
        """Where the segmenter runs."""
        return self.segmenter.device

    def encode(self, image: np.ndarray) -> Encoding:
        """See ``Segmenter.encode``."""
        key = repr(image.shape).encode() + image.tobytes()
        if key not in self._encodings:
            self._encodings[key] = self.segmenter.encode(image)
        return self._encodings[key]

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """See ``Segmenter.decode``."""
        parts = (
            prompts.boxes_xyxy,
            prompts.point_coords,
            prompts.point_labels,
            prompts.mask_inputs,
        )
        content = [
            None if part is None else torch.as_tensor(part).cpu().numpy().tobytes()
            for part in parts
        ]
        key = (id(encoding), repr((multimask_output, return_logits, content)).encode())
        if key not in self._segmentations:
            self._segmentations[key] = self.segmenter.decode(
                encoding, prompts, multimask_output=multimask_output, return_logits=return_logits
            )
        return self._segmentations[key]
