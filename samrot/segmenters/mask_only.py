"""What segmenters that take boxes and give plain masks have in common."""

from __future__ import annotations

import numpy as np
import torch

from samrot.errors import InputError
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

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
