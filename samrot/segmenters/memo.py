"""Work shared between the turns of one photo, found by content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from samrot.batches import in_batches
from samrot.segmenters.base import Encoding, Segmentation, Segmenter, encode_together
from samrot.segmenters.prompts import Prompts


class MemoSegmenter:
    """A segmenter that answers a repeated question from memory.

    Under an equivariant canonicalizer all turns of a photo arrive here as the same canonical image
    with the same prompts. That they are the same is compared, byte for byte, never assumed.

    Args:
        segmenter: does the work.
        images_per_batch: encoded at once; more than one changes masks by rounding.
    """

    def __init__(self, segmenter: Segmenter, *, images_per_batch: int = 1) -> None:
        self.segmenter = segmenter
        self.images_per_batch = images_per_batch
        self.name = segmenter.name
        self.predicts_scores = segmenter.predicts_scores
        self._encodings: dict[bytes, Encoding] = {}
        self._segmentations: dict[tuple[int, bytes], Segmentation] = {}

    def clear(self) -> None:
        """Forget everything, since memory is not bounded otherwise."""
        self._encodings.clear()
        self._segmentations.clear()

    def clear_segmentations(self) -> None:
        """Forget the masks, and keep what photos look like."""
        self._segmentations.clear()

    @property
    def device(self) -> torch.device:
        """Where the segmenter runs."""
        return self.segmenter.device

    def encode(self, image: np.ndarray) -> Encoding:
        """See ``Segmenter.encode``."""
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoding]:
        """See ``BatchEncoder.encode_batch``; any number of photos, encoded in batches."""
        keys = [repr(image.shape).encode() + image.tobytes() for image in images]
        unseen = {
            key: image
            for key, image in zip(keys, images, strict=True)
            if key not in self._encodings
        }
        unseen_keys, unseen_images = list(unseen), list(unseen.values())

        def encode(batch: slice) -> None:
            found = encode_together(self.segmenter, unseen_images[batch])
            self._encodings.update(zip(unseen_keys[batch], found, strict=True))

        if unseen:
            in_batches(encode, len(unseen), self.images_per_batch)
        return [self._encodings[key] for key in keys]

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
