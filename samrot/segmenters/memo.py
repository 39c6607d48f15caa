"""Work shared between the views of one photo, found by content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from samrot.runtime.batches import in_batches
from samrot.segmenters.protocol import Encoding, Segmenter, check_memory, encode_together
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation


@dataclass(frozen=True)
class RememberedEncoding(Encoding):
    """An encoding that knows of which photo it is.

    Args:
        size_hw, features: as in ``Encoding``.
        content: digest of the photo's shape and pixels.
    """

    content: bytes


class MemoSegmenter:
    """A segmenter that answers a repeated question from memory.

    Under an equivariant canonicalizer all views of a photo arrive here as the same canonical image
    with the same prompts. That they are the same is found by their content, never assumed.

    Args:
        segmenter: does the work.
        images_per_batch: encoded at once; more than one changes masks by rounding.
    """

    def __init__(self, segmenter: Segmenter, *, images_per_batch: int = 1) -> None:
        self.segmenter = segmenter
        self.images_per_batch = images_per_batch
        self.name = segmenter.name
        self.predicts_scores = segmenter.predicts_scores
        self._encodings: dict[bytes, RememberedEncoding] = {}
        self._segmentations: dict[bytes, Segmentation] = {}

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

    def encode(self, image: np.ndarray) -> RememberedEncoding:
        """See ``Segmenter.encode``."""
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[RememberedEncoding]:
        """See ``BatchEncoder.encode_batch``; any number of photos, encoded in batches."""
        keys = [_digest(image.shape, image.tobytes()) for image in images]
        unseen = {
            key: image
            for key, image in zip(keys, images, strict=True)
            if key not in self._encodings
        }
        unseen_keys, unseen_images = list(unseen), list(unseen.values())

        def encode(batch: slice) -> None:
            check_memory(self.segmenter, unseen_images[batch], self.images_per_batch)
            encodings = encode_together(self.segmenter, unseen_images[batch])
            for key, encoding in zip(unseen_keys[batch], encodings, strict=True):
                self._encodings[key] = RememberedEncoding(encoding.size_hw, encoding.features, key)

        for _ in in_batches(encode, len(unseen), self.images_per_batch) if unseen else ():
            pass
        return [self._encodings[key] for key in keys]

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """See ``Segmenter.decode``; for encodings that this segmenter made."""
        key = self.question(encoding, prompts, multimask_output, return_logits)
        if key not in self._segmentations:
            self._segmentations[key] = self.segmenter.decode(
                encoding, prompts, multimask_output=multimask_output, return_logits=return_logits
            )
        return self._segmentations[key]

    @staticmethod
    def question(encoding: Encoding, prompts: Prompts, *options: bool) -> bytes:
        """Digest of what is asked of an encoding that such a segmenter made."""
        assert isinstance(encoding, RememberedEncoding)
        content: list[object] = [encoding.content, *options]
        for part in vars(prompts).values():
            array = None if part is None else torch.as_tensor(part).cpu().numpy()
            content += [None] if array is None else [array.shape, array.tobytes()]
        return _digest(*content)


def _digest(*content: object) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in content:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.digest()
