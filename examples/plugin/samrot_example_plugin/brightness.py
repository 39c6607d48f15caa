"""A segmenter without weights: of a box, what is brighter than its mean."""

from __future__ import annotations

import numpy as np
import torch

from samrot.segmenters import Encoding, Prompts, Segmentation
from samrot.segmenters.mask_only import boxes_alone, segmentation_from_masks


class BrightnessSegmenter:
    """The pixels in the box that are brighter than the mean of those in the box."""

    name = "brightness"
    predicts_scores = False
    device = torch.device("cpu")

    def encode(self, image: np.ndarray) -> Encoding:
        """The grey values of a photo, (H, W, 3) uint8 RGB."""
        return Encoding((image.shape[0], image.shape[1]), image.astype(np.int64).sum(axis=2))

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """A mask for each box; score 1, logits of +-1.

        Raises:
            InputError: if a prompt is anything but a box.
        """
        boxes_xyxy = boxes_alone(prompts, self.name)
        height, width = encoding.size_hw
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        grey, masks = encoding.features, np.zeros((len(boxes_xyxy), height, width), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes_xyxy, strict=True):
            inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
            # Sums of integers: their order, which a turn of the photo changes, does not show.
            mask[:] = inside & (grey * inside.sum() > grey[inside].sum())
        return segmentation_from_masks(masks, return_logits=return_logits)
