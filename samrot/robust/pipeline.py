"""The way through: photos and prompts to their frames, the segmenter called, its masks back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from samrot.errors import InputError, check_count
from samrot.robust.frames import CanonicalFrame
from samrot.runtime.batches import in_batches
from samrot.segmenters import Encoding, Segmenter, encode_together
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

PROMPTS_PER_BATCH = 16


@dataclass(frozen=True, eq=False)
class CanonicalImage:
    """A photo as the segmenter knows it.

    Args:
        frame: how it lies in the canonical one.
        encoding: encoding of the canonical photo.
    """

    frame: CanonicalFrame
    encoding: Encoding


class Pipeline:
    """A segmenter that takes photos and prompts in the user's frame; without state between calls.

    Args:
        segmenter: what ``samrot.load_segmenter`` gives.
        prompts_per_batch: prompts decoded at once, which bounds memory.
    """

    def __init__(self, segmenter: Segmenter, *, prompts_per_batch: int = PROMPTS_PER_BATCH) -> None:
        check_count("prompts_per_batch", prompts_per_batch, 1)
        self.segmenter = segmenter
        self.prompts_per_batch = prompts_per_batch

    def encode(
        self, images: Sequence[np.ndarray], frames: Sequence[CanonicalFrame]
    ) -> list[CanonicalImage]:
        """Move photos, each (H, W, 3) uint8 RGB, to their frames and encode them, together."""
        canonical = [
            frame.canonical_image(image) for image, frame in zip(images, frames, strict=True)
        ]
        encodings = encode_together(self.segmenter, canonical)
        return [CanonicalImage(*pair) for pair in zip(frames, encodings, strict=True)]

    def decode(
        self,
        image: CanonicalImage,
        prompts: Prompts,
        *,
        multimask_output: bool,
        return_logits: bool,
    ) -> Segmentation:
        """Segment B prompts, B may be 0; prompts and result are in the user's frame.

        A batch of prompts at a time is decoded, moved, and written into what is returned, so that
        nothing but the result grows with B. Where memory does not suffice, batches are halved.
        """

        def decode_batch(batch: slice) -> Segmentation:
            return self._decode_together(
                image, prompts[batch], multimask=multimask_output, return_logits=return_logits
            )

        batches = in_batches(decode_batch, len(prompts), self.prompts_per_batch)
        return gather(batches, len(prompts))

    def best_masks(
        self,
        image: CanonicalImage,
        prompts: Prompts,
        *,
        multimask: bool,
        refine: int,
        return_logits: bool = False,
        in_canonical: bool = False,
    ) -> Iterator[Segmentation]:
        """One mask for each prompt, C = 1: a batch at a time, so that memory does not grow with B.

        Args:
            image: what ``encode`` made.
            prompts: B of them, in the user's frame; there is one batch, of no masks, where B is 0.
            multimask: decode three candidates, and keep the one of the highest score.
            refine: times that the low-resolution logits are fed back as mask input.
            return_logits: logits instead of binary masks.
            in_canonical: boxes and points are in the canonical frame; the masks are not.
        """
        decode = partial(
            self._decode_together, image, return_logits=return_logits, in_canonical=in_canonical
        )

        def decode_batch(batch: slice) -> Segmentation:
            some = prompts[batch]
            best = decode(some, multimask=multimask).best()
            for _ in range(refine):
                best = decode(replace(some, mask_inputs=best.low_res_logits)).best()
            return best

        return in_batches(decode_batch, len(prompts), self.prompts_per_batch)

    def _decode_together(
        self,
        image: CanonicalImage,
        prompts: Prompts,
        *,
        multimask: bool = False,
        return_logits: bool = False,
        in_canonical: bool = False,
    ) -> Segmentation:
        """Segment the prompts of one batch; the result is in the user's frame."""
        frame = image.frame
        segmentation = self.segmenter.decode(
            image.encoding,
            frame.canonical_prompts(prompts, in_canonical=in_canonical),
            multimask_output=multimask,
            return_logits=return_logits or frame.asks_logits,
        )
        if not bool(torch.isfinite(segmentation.scores).all()):
            raise InputError(
                f"{self.segmenter.name} gave a score that is not finite; its weights, or what "
                "it was fed, are damaged: load them again"
            )
        return frame.user_segmentation(segmentation, return_logits=return_logits)


def gather(batches: Iterable[Segmentation], total: int) -> Segmentation:
    """Batches of ``total`` prompts as one, each written into its place as it comes."""
    whole: list[Tensor] = []
    start = 0
    for batch in batches:
        parts = (batch.masks, batch.scores, batch.low_res_logits)
        if not whole:
            whole.extend(part.new_empty((total, *part.shape[1:])) for part in parts)
        for destination, part in zip(whole, parts, strict=True):
            destination[start : start + len(part)] = part
        start += len(batch.scores)
    return Segmentation(*whole)
