"""A plain CNN made equivariant by looking at all four turns of the image.

The "optimised" canonicalizer of Panigrahi et al. 2024 (arXiv 2405.14089): the network itself obeys
no law, the search over the orbit does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samrot.geometry.groups import C4


class OrbitCNN(nn.Module):
    """Score each turn of the image with one plain CNN.

    Logit k is the score of the image turned back by k: "does it look canonical now?". Turning the
    image rolls the list of its turns, so the roll law holds for any score network.

    Args:
        widths: channels at each scale; each scale halves the side.
        dropout: share of channels dropped before the score, in training.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256), dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip((3, *widths), widths, strict=False):
            for channels, stride in ((in_channels, 2), (out_channels, 1)):
                layers += [
                    nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False),
                    nn.GroupNorm(out_channels // 16, out_channels),
                    nn.ReLU(),
                ]
        self.score = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1], 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4)."""
        orbit = torch.cat([torch.rot90(images, -k, (-2, -1)) for k in range(C4.order)])
        return self.score(orbit).reshape(C4.order, -1).T
