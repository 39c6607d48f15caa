"""What every segmenter is: encode a photo once, decode prompts as often as you like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from samrot.errors import InputError
from samrot.segmenters.prompts import Prompts


@dataclass(frozen=True)
class Encoding:
    """A photo as its segmenter sees it.

    Args:
        size_hw: of the photo.
        features: what the segmenter needs to decode; for SAM the embedding, (1, C, h, w).
    """

    size_hw: tuple[int, int]
    features: Any


@dataclass(frozen=True)
class Segmentation:
    """Masks for B prompts, C candidates each, in the frame of the encoded photo.

    Args:
        masks: (B, C, H, W) bool, or float logits where logits were asked for.
        scores: (B, C) float, predicted IoU (1.0 where the segmenter predicts none).
        low_res_logits: (B, C, h, w) float, of the segmenter's square input, padding included.
    """

    masks: Tensor
    scores: Tensor
    low_res_logits: Tensor


class Segmenter(Protocol):
    """The interface of a promptable segmenter; state lives in ``Encoding``, never here."""

    name: str
    predicts_scores: bool

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    def encode(self, image: np.ndarray) -> Encoding:
        """Look at a photo, (H, W, 3) uint8 RGB."""
        ...

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """Segment what the prompts point at, all at once: memory grows with their number.

        Raises:
            InputError: if the segmenter does not take prompts of that kind.
        """
        ...


@runtime_checkable
class BatchEncoder(Protocol):
    """A segmenter that gains by encoding several photos at once."""

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoding]:
        """Look at photos of any sizes, each (H, W, 3) uint8 RGB."""
        ...


def encode_together(segmenter: Segmenter, images: Sequence[np.ndarray]) -> list[Encoding]:
    """Look at photos, each (H, W, 3) uint8 RGB: at once, if the segmenter can."""
    if isinstance(segmenter, BatchEncoder):
        return segmenter.encode_batch(images)
    return [segmenter.encode(image) for image in images]


def check_remains(size_hw: tuple[int, int], resized_hw: tuple[int, int], name: str) -> None:
    """Refuse a photo so narrow that less than half a pixel of it remains when it is resized.

    Raises:
        InputError: ``name`` is the segmenter's.
    """
    if min(resized_hw) < 1:
        raise InputError(
            f"image is {size_hw[0]}x{size_hw[1]}; {name} resizes the longest side to "
            f"{max(resized_hw)}, which leaves nothing of the other: crop the image"
        )


LOW_RES = 256  # side of low-resolution logits, as SAM's


def boxes_alone(prompts: Prompts, name: str) -> np.ndarray:
    """The boxes, (B, 4), for a segmenter that takes nothing else.

    Raises:
        InputError: if there are no boxes, or other prompts too; ``name`` is the segmenter's.
    """
    others = (prompts.point_coords, prompts.mask_inputs)
    if prompts.boxes_xyxy is None or any(other is not None for other in others):
        raise InputError(f"{name} takes box prompts only; give boxes, no points and no mask input")
    return prompts.boxes_xyxy


def segmentation_from_masks(masks: np.ndarray, *, return_logits: bool) -> Segmentation:
    """What a segmenter without logits returns: one candidate, score 1.0, logits of +-1.

    The low-resolution logits show the photo in the top left of a square, the padding negative.

    Args:
        masks: (B, H, W) bool.
        return_logits: logits instead of binary masks.
    """
    logits = torch.from_numpy(masks)[:, None].float() * 2 - 1
    height, width = masks.shape[1:]
    scale = LOW_RES / max(height, width)
    size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    low_res = logits.new_full((len(masks), 1, LOW_RES, LOW_RES), -1.0)
    if len(masks):
        low_res[..., : size_hw[0], : size_hw[1]] = torch.nn.functional.interpolate(
            logits, size_hw, mode="bilinear"
        )
    return Segmentation(
        masks=logits if return_logits else logits > 0,
        scores=torch.ones(len(masks), 1),
        low_res_logits=low_res,
    )
