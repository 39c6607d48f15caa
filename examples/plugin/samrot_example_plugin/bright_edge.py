"""A canonicalizer without weights: of a photo that is upright, the upper edge is the brightest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samrot.canonicalizers import Canonicalizer, Thumbnail


class BrightEdge(nn.Module):
    """Evidence for each quarter turn: how bright the edge is that would be the upper one."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised thumbnails to (B, 4) logits; obeys the law of C4."""
        upright = [images.rot90(-turns, (-2, -1)) for turns in range(4)]
        return torch.stack([image[..., :2, :].mean((1, 2, 3)) for image in upright], dim=1)


def bright_edge() -> Canonicalizer:
    """The canonicalizer, on the CPU."""
    return Canonicalizer(BrightEdge(), Thumbnail(32), mirror_average=False)
