"""Any angle: a canonicalizer of a finite group, and a network for the tilt that is left then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from samrot.canonicalizers.canonicalizer import Canonicalizer, of_each_once
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.errors import check_range
from samrot.geometry import exact
from samrot.geometry.groups import D4
from samrot.geometry.pose import Pose, factor_angle
from samrot.layers.efficientnet_lite import EfficientNetLite

REACH_DEG = 60  # beyond 45, so that a wrong neighbour among the quarter turns is mended
WINDOW_DEG = 12  # around the mode, over which the expectation is taken


def bin_angles_deg() -> Tensor:
    """(121,) the tilts that the evidence is indexed by, degrees counter-clockwise."""
    return torch.arange(-REACH_DEG, REACH_DEG + 1, dtype=torch.float64)


class TiltNetwork(nn.Module):
    """EfficientNet-Lite over the disc in a square, to evidence for each tilt.

    What lies outside of the inscribed disc is hidden: corners, and the black triangles of a photo
    that was turned, would tell the angle.

    Args:
        variant: variant of EfficientNet-Lite.
        stages: how many of its seven stages to keep.
        frozen_stages: how many of them keep their weights in training, the stem with them.
        width: channels of the layer before the evidence.
        dropout: share of them dropped in training.
    """

    def __init__(
        self,
        variant: int,
        stages: int = 5,
        frozen_stages: int = 0,
        width: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = EfficientNetLite(variant, stages)
        self.features.freeze(frozen_stages)
        self.head = nn.Sequential(
            nn.Conv2d(self.features.channels, width, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(width, len(bin_angles_deg())),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised to (B, 121) logits of the bins."""
        return self.head(self.features(images * disc(images)))


def disc(images: Tensor) -> Tensor:
    """(S, S) 1 within the disc inscribed in a square of the side of the images, 0 outside."""
    side = images.shape[-1]
    offsets = torch.arange(side, device=images.device) + 0.5 - side / 2
    return (offsets[:, None] ** 2 + offsets[None] ** 2 <= (side / 2) ** 2).to(images)


class TiltEstimate(NamedTuple):
    """What the evidence says of a tilt.

    Args:
        tilt_deg: degrees counter-clockwise, -60 to 60: the circular expectation around the mode.
        spread_deg: circular standard deviation of all the evidence, degrees.
        share: share of the evidence around the mode, 0..1.
    """

    tilt_deg: float
    spread_deg: float
    share: float


@dataclass(frozen=True)
class TiltRule:
    """When a tilt is believed.

    Args:
        dead_band_deg: smaller tilts are taken to be 0: undoing them costs more than it gains.
        unknown_below: where less of the evidence than this lies around its mode, the tilt is
            unknown, and 0; of evidence that is flat a fifth does.
    """

    dead_band_deg: float = 5.0
    unknown_below: float = 0.5

    def __post_init__(self) -> None:
        check_range("canonicalizer dead_band_deg", self.dead_band_deg, 0, 45)
        check_range("canonicalizer unknown_below", self.unknown_below, 0, 1)

    def believed(self, found: TiltEstimate) -> float:
        """The tilt, degrees; 0 where it is small or unknown."""
        is_small = abs(found.tilt_deg) < self.dead_band_deg
        return 0.0 if is_small or found.share < self.unknown_below else found.tilt_deg


class TiltCanonicalizer(Canonicalizer):
    """A canonicalizer for any angle.

    The exact canonicalizer finds the nearest element of its group, the photo is moved back by it,
    and the tilt network sees what is left. All elements of an exact orbit arrive there as the same
    image, to the byte, so that their poses differ by the element alone.

    Args:
        exact_part: canonicalizer of C4 or D4; ``logits`` and probabilities are its own.
        tilt_network: (B, 3, S, S) normalised thumbnails to (B, 121) logits.
        tilt_thumbnail: what the tilt network is shown.
        rule: when a tilt is believed.
    """

    def __init__(
        self,
        exact_part: Canonicalizer,
        tilt_network: nn.Module,
        tilt_thumbnail: Thumbnail,
        rule: TiltRule,
    ) -> None:
        super().__init__(
            exact_part.network,
            exact_part.thumbnail,
            group=exact_part.group,
            mirror_average=exact_part.mirror_average,
            mirror_below=exact_part.mirror_below,
            aspect_log_odds=exact_part.aspect_log_odds,
        )
        self.tilt_network = tilt_network
        self.tilt_thumbnail = tilt_thumbnail
        self.rule = rule

    def estimate_many(self, images: Sequence[np.ndarray]) -> Pose:
        """The pose of photos that share it: nearest element, tilt, and its spread.

        A tilt beyond 45 degrees says that the neighbour is nearer: the element goes on by a quarter
        turn, and the probabilities with it.
        """
        pose = super().estimate_many(images)
        undo = D4.inverse(pose.element)
        return self._tilted(
            pose, self.estimate_tilt(exact.move_image(image, undo) for image in images)
        )

    def estimate_each(self, images: Sequence[np.ndarray]) -> list[Pose]:
        """See ``Canonicalizer``; exact turns of a photo among them share the tilt to the bit."""
        poses = super().estimate_each(images)
        if not poses:
            return []
        evidence = of_each_once(self._tilt_evidence, moved_back(images, poses)).double()
        tilts = [summarise_tilt(each.softmax(0).cpu()) for each in evidence]
        return [self._tilted(*pair) for pair in zip(poses, tilts, strict=True)]

    def _tilted(self, pose: Pose, found: TiltEstimate) -> Pose:
        assert pose.probabilities is not None
        quarters, rest_deg = factor_angle(self.rule.believed(found))
        moved = [D4.compose(g, quarters) for g in range(self.group.order)]
        probabilities = np.empty_like(pose.probabilities)
        probabilities[moved] = pose.probabilities
        return Pose(D4.compose(pose.element, quarters), rest_deg, probabilities, found.spread_deg)

    @torch.no_grad()
    def estimate_tilt(self, images: Iterable[np.ndarray]) -> TiltEstimate:
        """The one tilt of photos, each (H, W, 3) uint8 RGB, nearly upright; believed or not."""
        evidence = [self._tilt_evidence([image])[0] for image in images]
        return summarise_tilt(self.summed_evidence(evidence).softmax(0).cpu())

    @torch.no_grad()
    def _tilt_evidence(self, images: Sequence[np.ndarray]) -> Tensor:
        """(N, 121) float64, of photos that the network is given together."""
        views, num_views = self.views_of(images, self.tilt_thumbnail)
        return self.tilt_network(views).double().unflatten(0, (-1, num_views)).mean(dim=1)


def moved_back(images: Sequence[np.ndarray], poses: Sequence[Pose]) -> list[np.ndarray]:
    """Photos, (H, W, 3), with the elements of their poses undone."""
    return [
        exact.move_image(image, D4.inverse(pose.element))
        for image, pose in zip(images, poses, strict=True)
    ]


def summarise_tilt(shares: Tensor) -> TiltEstimate:
    """What evidence, (121,) float64 that sums to 1, says of a tilt."""
    angles = bin_angles_deg().deg2rad()
    near = (angles - angles[shares.argmax()]).abs() <= np.deg2rad(WINDOW_DEG) + 1e-9
    directions = torch.polar(torch.ones_like(angles), angles)
    expected = (shares * near * directions).sum().angle()
    length = float((shares * directions).sum().abs().clamp(1e-12, 1.0))
    spread = float(np.rad2deg(np.sqrt(-2 * np.log(length))))
    return TiltEstimate(float(expected.rad2deg()), spread, float((shares * near).sum()))
