"""Plain CNNs made equivariant by looking at the image in every pose of a group.

The "optimised" canonicalizer of Panigrahi et al. 2024 (arXiv 2405.14089): the network itself obeys
no law, the search over the orbit does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samrot.canonicalizers.tilt import disc
from samrot.geometry.exact import turn_tensor
from samrot.geometry.groups import C4, D4, FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, factor
from samrot.layers.efficientnet_lite import EfficientNetLite


class _Orbit(nn.Module):
    """Score each view of the image, one for each element of a group, with one plain CNN.

    Logit g is the score of the image moved back by g: "does it look canonical now?". Moving the
    image permutes the list of its views, so the law holds for any score network. Where the group
    mirrors, a view and its mirror image share the mean of their scores, and a score of its own
    tells the two hands apart. Where views have to be resampled, as in C8, all of them are cut to
    the inscribed disc, whose edge tells no angle; the law is then exact for quarter turns alone.

    Args:
        features: (B, 3, S, S) to (B, channels, s, s).
        channels: number of channels of the features.
        dropout: share of channels dropped before the score, in training.
        group: C4, D4, C8 or C16.
    """

    def __init__(
        self, features: nn.Module, channels: int, dropout: float, group: FiniteGroup
    ) -> None:
        super().__init__()
        self.group = group
        self.features = features
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.score = nn.Linear(channels, 1)
        self.hand: nn.Linear | None = None
        if group.has_mirrors:
            self.hand = nn.Linear(channels, 1, bias=False)
            nn.init.zeros_(self.hand.weight)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, |G|)."""
        return self.score_vectors(self.orbit_vectors(images))

    def orbit_vectors(self, images: Tensor) -> Tensor:
        """What the CNN sees in each view: (B, 3, S, S) to (B, |G|, channels)."""
        factors = [factor(self.group, g) for g in range(self.group.order)]
        untilted = {tilt_deg: _untilted(images, tilt_deg) for _, tilt_deg in factors}
        views = torch.cat(
            [turn_tensor(untilted[tilt_deg], D4.inverse(element)) for element, tilt_deg in factors]
        )
        if not self.group.is_exact:
            views = views * disc(views)
        vectors = self.pool(self.features(views))
        return vectors.unflatten(0, (self.group.order, -1)).transpose(0, 1)

    def score_vectors(self, vectors: Tensor) -> Tensor:
        """(B, |G|, channels) to (B, |G|) logits."""
        scores = self.score(vectors).squeeze(-1)
        if self.hand is None:
            return scores
        # Elements k and |G| / 2 + k see mirror images of each other.
        upright, mirrored = scores.chunk(2, dim=1)
        turns = (upright + mirrored) / 2
        return torch.cat([turns, turns], dim=1) + self.hand(vectors).squeeze(-1)


def _untilted(images: Tensor, tilt_deg: float) -> Tensor:
    """Images, (B, 3, S, S), after a tilt is undone; resampled once, the edge repeated."""
    if tilt_deg == 0:
        return images
    size_hw = (images.shape[-2], images.shape[-1])
    return PlaneTransform.to_canonical(Pose(0, tilt_deg), size_hw).logits(images, fill=None)


class OrbitCNN(_Orbit):
    """A small CNN over the orbit, to train from nothing.

    Args:
        widths: channels at each scale; each scale halves the side.
        dropout: share of channels dropped before the score, in training.
        group: C4, D4, C8 or C16.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 256),
        dropout: float = 0.0,
        group: FiniteGroup = C4,
    ) -> None:
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip((3, *widths), widths, strict=False):
            for channels, stride in ((in_channels, 2), (out_channels, 1)):
                layers += [
                    nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False),
                    nn.GroupNorm(out_channels // 16, out_channels),
                    nn.ReLU(),
                ]
        super().__init__(nn.Sequential(*layers), widths[-1], dropout, group)


class OrbitLite(_Orbit):
    """EfficientNet-Lite over the orbit, to train from its ImageNet weights.

    Args:
        variant: 0, 1 or 2.
        stages: how many of the seven to keep.
        frozen_stages: how many of them keep their weights in training, the stem with them.
        dropout: share of channels dropped before the score, in training.
        group: C4, D4, C8 or C16.
    """

    features: EfficientNetLite

    def __init__(
        self,
        variant: int,
        stages: int = 6,
        frozen_stages: int = 0,
        dropout: float = 0.0,
        group: FiniteGroup = C4,
    ) -> None:
        features = EfficientNetLite(variant, stages)
        features.freeze(frozen_stages)
        super().__init__(features, features.channels, dropout, group)
