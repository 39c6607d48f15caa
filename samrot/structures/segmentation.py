"""The masks of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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

    def best(self) -> Segmentation:
        """Of the candidates of each prompt the one of the highest score, C = 1."""
        best = self.scores.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return Segmentation(
            self.masks[rows, best][:, None],
            self.scores[rows, best][:, None],
            self.low_res_logits[rows, best][:, None],
        )
