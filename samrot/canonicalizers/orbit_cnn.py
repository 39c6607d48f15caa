"""Plain CNNs made equivariant by looking at all four turns of the image.

The "optimised" canonicalizer of Panigrahi et al. 2024 (arXiv 2405.14089): the network itself obeys
no law, the search over the orbit does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samrot.geometry.groups import C4
from samrot.layers.efficientnet_lite import EfficientNetLite


class _Orbit(nn.Module):
    """Score each turn of the image with one plain CNN.

    Logit k is the score of the image turned back by k: "does it look canonical now?". Turning the
    image rolls the list of its turns, so the roll law holds for any score network.

    Args:
        features: (B, 3, S, S) to (B, channels, s, s).
        channels: of the features.
        dropout: share of channels dropped before the score, in training.
    """

    def __init__(self, features: nn.Module, channels: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.score = nn.Linear(channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4)."""
        return self.score_vectors(self.orbit_vectors(images))

    def orbit_vectors(self, images: Tensor) -> Tensor:
        """What the CNN sees in each turn: (B, 3, S, S) to (B, 4, channels)."""
        orbit = torch.cat([torch.rot90(images, -k, (-2, -1)) for k in range(C4.order)])
        return self.pool(self.features(orbit)).unflatten(0, (C4.order, -1)).transpose(0, 1)

    def score_vectors(self, vectors: Tensor) -> Tensor:
        """(B, 4, channels) to (B, 4) logits."""
        return self.score(vectors).squeeze(-1)


class OrbitCNN(_Orbit):
    """A small CNN over the orbit, to train from nothing.

    Args:
        widths: channels at each scale; each scale halves the side.
        dropout: share of channels dropped before the score, in training.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256), dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip((3, *widths), widths, strict=False):
            for channels, stride in ((in_channels, 2), (out_channels, 1)):
                layers += [
                    nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False),
                    nn.GroupNorm(out_channels // 16, out_channels),
                    nn.ReLU(),
                ]
        super().__init__(nn.Sequential(*layers), widths[-1], dropout)


class OrbitLite(_Orbit):
    """EfficientNet-Lite over the orbit, to train from its ImageNet weights.

    Args:
        variant: 0, 1 or 2.
        stages: of the seven, how many to keep.
        frozen_stages: how many of them keep their weights in training, the stem with them.
        dropout: share of channels dropped before the score, in training.
    """

    def __init__(
        self, variant: int, stages: int = 6, frozen_stages: int = 0, dropout: float = 0.0
    ) -> None:
        features = EfficientNetLite(variant, stages)
        features.freeze(frozen_stages)
        super().__init__(features, features.channels, dropout)
