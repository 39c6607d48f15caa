"""The filled box as a mask: the floor under every segmenter, and a detector scored by itself."""

from __future__ import annotations

import numpy as np
import torch

from samrot.segmenters.mask_only import boxes_alone, segmentation_from_masks
from samrot.segmenters.protocol import Encoding
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation


class FilledBoxSegmenter:
    """Every pixel whose centre lies in the box."""

    name = "box"
    predicts_scores = False

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def encode(self, image: np.ndarray) -> Encoding:
        """Note the size of the photo, (H, W, 3)."""
        return Encoding((image.shape[0], image.shape[1]), None)

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """Fill each box; one candidate, score 1.0, logits of +-1.

        Raises:
            InputError: if a prompt is anything but a box.
        """
        height, width = encoding.size_hw
        x0, y0, x1, y1 = boxes_alone(prompts, self.name).T[..., None]
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        inside_x, inside_y = (x > x0) & (x < x1), (y > y0) & (y < y1)
        masks = inside_y[:, :, None] & inside_x[:, None, :]
        return segmentation_from_masks(masks, return_logits=return_logits)
