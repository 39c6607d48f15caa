"""Where the pose of a photo comes from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.errors import InputError, check_range
from samrot.geometry.groups import C4, FiniteGroup
from samrot.geometry.pose import Pose

# Chosen on training photos kept aside, see docs/evaluation.md.
THRESHOLD = 0.8
PRIOR_WEIGHT = 0.5


class PoseSource(Protocol):
    """Says how a photo is turned. A canonicalizer is one."""

    def estimate(self, image: np.ndarray) -> Pose:
        """The pose of a photo, (H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True)
class GivenPose:
    """A pose that is known, or taken for granted.

    Args:
        pose: pose of every photo; by default upright.
    """

    pose: Pose = field(default_factory=Pose)

    def estimate(self, image: np.ndarray) -> Pose:
        """See ``PoseSource``."""
        return self.pose


UPRIGHT = GivenPose()


@dataclass(frozen=True, eq=False)
class PriorWeighted:
    """A canonicalizer's evidence and what is known of the photos beforehand, by Bayes.

    The law is given up on purpose: a photo and its turned copy are not equally likely to arrive.
    The canonicalizer's probabilities are its likelihood, since all turns are alike to it.

    Args:
        canonicalizer: says how likely each pose is. A tilt is known of its likeliest pose alone.
        prior: (|G|,) probability of each pose among the photos that arrive, by element.

    Raises:
        InputError: if the prior is no distribution over the canonicalizer's group.
    """

    canonicalizer: Canonicalizer
    prior: tuple[float, ...]

    def __post_init__(self) -> None:
        order = self.canonicalizer.group.order
        numbers = np.asarray(self.prior, dtype=float)
        if numbers.shape != (order,) or not (numbers >= 0).all() or abs(numbers.sum() - 1) > 1e-4:
            raise InputError(
                f"pose_prior is {self.prior}; expected {order} probabilities that sum to 1, of "
                + ", ".join(self.canonicalizer.group.names)
            )

    def estimate(self, image: np.ndarray) -> Pose:
        """See ``PoseSource``."""
        pose, group = self.canonicalizer.estimate(image), self.canonicalizer.group
        assert pose.probabilities is not None
        joint = pose.probabilities * np.asarray(self.prior)
        if joint.sum() == 0:  # what the canonicalizer is sure of never arrives
            joint = np.asarray(self.prior, dtype=float)
        posterior = joint / joint.sum()
        g = int(posterior.argmax())
        if g == int(pose.probabilities.argmax()):
            return replace(pose, probabilities=posterior)
        return Pose.of_element(group, g, posterior)


class Candidate(NamedTuple):
    """A pose that a photo may have.

    Args:
        pose: pose of the photo.
        log_weight: evidence for it before any mask is seen, in units of predicted IoU.
    """

    pose: Pose
    log_weight: float = 0.0


@runtime_checkable
class OrbitSource(Protocol):
    """Names poses between which the segmenter decides: by the mean IoU that it predicts."""

    def candidates(self, image: np.ndarray) -> list[Candidate]:
        """Poses that a photo, (H, W, 3) uint8 RGB, may have; at least one."""
        ...


@dataclass(frozen=True)
class WholeOrbit:
    """Every pose of a group, none likelier than another: canonicalization at test time.

    Source: Singhal et al. 2025 (arXiv 2507.10375), with the segmenter's own confidence as energy.

    Args:
        group: the group.
    """

    group: FiniteGroup = C4

    def candidates(self, image: np.ndarray) -> list[Candidate]:
        """See ``OrbitSource``."""
        return [Candidate(Pose.of_element(self.group, g)) for g in range(self.group.order)]


@dataclass(frozen=True)
class UnsureCanonicalizer:
    """A canonicalizer where it is sure; else the poses between which it wavers.

    The candidates are the likeliest poses whose probabilities together reach the threshold; the
    segmenter decides by mean predicted IoU + prior weight x log probability.

    Args:
        canonicalizer: says how likely each pose is. A tilt is known of the likeliest pose alone.
        threshold: probability at which it is sure, 0..1.
        prior_weight: predicted IoU that a factor e in probability is worth.
    """

    canonicalizer: Canonicalizer
    threshold: float = THRESHOLD
    prior_weight: float = PRIOR_WEIGHT

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0, 1)
        check_range("prior_weight", self.prior_weight, 0)

    def candidates(self, image: np.ndarray) -> list[Candidate]:
        """See ``OrbitSource``; the likeliest first."""
        pose, group = self.canonicalizer.estimate(image), self.canonicalizer.group
        assert pose.probabilities is not None
        order = np.argsort(-pose.probabilities, kind="stable")
        reached = np.cumsum(pose.probabilities[order])
        number = 1 + int((reached[:-1] < self.threshold).sum())
        weights = self.prior_weight * np.log(np.maximum(pose.probabilities[order], 1e-30))
        others = [Pose.of_element(group, int(g), pose.probabilities) for g in order[1:number]]
        poses = [pose, *others]
        return [Candidate(*pair) for pair in zip(poses, weights.tolist(), strict=False)]
