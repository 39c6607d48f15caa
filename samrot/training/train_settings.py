"""Settings of ``samrot train``: what is trained, on which photos, by which losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from samrot.canonicalizers.architectures import OVER_ANY_ANGLE, TILT_NETWORKS
from samrot.canonicalizers.tilt import TiltRule
from samrot.data.photos import PhotoSettings
from samrot.errors import InputError, check_count, check_range
from samrot.geometry.groups import C4, find_group
from samrot.training.finetune import TrainedSegmenterSettings
from samrot.training.fit_settings import FitSettings
from samrot.training.pose_photos import PoseAugmentation
from samrot.training.prompted_views import ViewSettings


@dataclass(kw_only=True)
class CanonicalizerSettings:
    """What is trained.

    Args:
        architecture: gcnn, gwrn, escnn_wrn, orbit_cnn or orbit_lite0, 1 or 2; escnn_so2, for any
            angle at once; or tilt_lite0 or 1, which finds the tilt that is left after the base.
        group: c4, or d4 (mirror images too; the orbit architectures), or c8 or c16 (those, and
            escnn_wrn).
        base: name of a bundled canonicalizer, whose weights are kept as they are and not saved
            again: only what it lacks is trained.
        size: side of the thumbnail, pixels.
        frame: square or squares (blind to the aspect ratio), letterbox (sees the whole photo).
        mirror_average: whether to add, at inference, the evidence of the mirror image.
        mirror_below: add it only where no pose is likelier than this without it; at 1 always.
        aspect_log_odds: evidence, at inference, from the aspect ratio; 0 hides it.
        options: options of the network: widths, blocks, dropout, stages, frozen_stages, width.
        dead_band_deg: smaller tilts are taken to be 0, at inference (tilt_lite, escnn_so2).
        unknown_below: tilts are 0 too where less of the evidence lies around its mode, 0..1.
    """

    architecture: str = "gwrn"
    group: str = C4.name
    base: str | None = None
    size: int = 97
    frame: str = "square"
    mirror_average: bool = True
    mirror_below: float = 1.0
    aspect_log_odds: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    dead_band_deg: float = TiltRule.dead_band_deg
    unknown_below: float = TiltRule.unknown_below


@dataclass(kw_only=True)
class TaskLossSettings:
    """The segmenter's own loss, through the pose (straight-through).

    Args:
        weight: weight of the loss; 0 leaves the segmenter out.
        segmenter: which; ``trained`` says what of it learns along, ``none`` keeps it frozen.
        view_size: side of the views, as in ``samrot finetune``.
        views: random views, as in ``samrot finetune``.
    """

    weight: float = 0.0
    segmenter: TrainedSegmenterSettings = field(
        default_factory=lambda: TrainedSegmenterSettings(trained="none")
    )
    view_size: int | None = None
    views: ViewSettings = field(default_factory=lambda: ViewSettings(scene_share=0.0))


@dataclass(kw_only=True)
class TrainSettings(FitSettings):
    """Settings of ``samrot train``, besides those of every training.

    Args:
        data: photos to train on.
        val: photos to measure pose accuracy on; may be empty.
        val_limit: largest number of photos measured.
        canonicalizer: what is trained.
        prior: probability of each pose in the photos that the segmenter was trained on, all of them
            upright by default; or exif, to count the orientation tags of the training photos; or a
            JSON file that maps file names to quarter turns, to count those. Only with
            probabilities are EXIF tags applied on reading.
        beta: weight of the prior loss; 0 learns a pose without prior, which needs a task loss.
        contrastive: weight of the loss that keeps the turns of a photo apart (orbit_* only).
        task: loss through a segmenter; needs data with instance masks.
        augmentation: random views of the photos.
        cutmix: probability that a photo is lent a rectangle of another.
        init: checkpoint to start from, of the same architecture, or the name of a bundled one; or
            imagenet, for orbit_lite0, 1 and 2 and tilt networks; or base, for tilt networks.
        cache: keep decoded photos in memory.
        labels: JSON file that maps file names to the quarter turns that the photos are turned by,
            which are undone; without it all of them are taken to be upright.
        turned_share: share of the photos that is turned from what labels say, or from upright, by
            nobody knows what; below 1 - 1 / |G|. The prior loss allows for it.
        realign: times that the network puts the photos upright that it takes to be turned, as far
            as turned_share makes that likely, and is trained anew, all steps of it. Each round has
            a folder of its own, with the photos that were moved.
        teacher: name or checkpoint of a canonicalizer of the same group, whose probabilities of
            each photo are learned in place of the prior; no photo needs to be upright.
    """

    data: PhotoSettings = field(default_factory=PhotoSettings)
    val: PhotoSettings = field(default_factory=PhotoSettings)
    val_limit: int = 500
    canonicalizer: CanonicalizerSettings = field(default_factory=CanonicalizerSettings)
    prior: list[float] | str | None = None
    beta: float = 1.0
    contrastive: float = 0.0
    task: TaskLossSettings = field(default_factory=TaskLossSettings)
    augmentation: PoseAugmentation = field(default_factory=PoseAugmentation)
    cutmix: float = 0.3
    init: str | None = None
    cache: bool = True
    labels: str | None = None
    turned_share: float = 0.0
    realign: int = 0
    teacher: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, weight in (
            ("beta", self.beta),
            ("contrastive", self.contrastive),
            ("task.weight", self.task.weight),
        ):
            check_range(name, weight, 0)
        check_range("val_limit", self.val_limit, 1)
        check_range("cutmix", self.cutmix, 0, 1)
        group = find_group(self.canonicalizer.group)
        if self.teacher is not None:
            self._check_teacher()
        if self.prior is None:
            self.prior = [1.0] + [0.0] * (group.order - 1)
        if group.has_mirrors and self.augmentation.mirror:
            raise InputError(
                f"augmentation.mirror is {self.augmentation.mirror} for {group.name}, which is to "
                "tell mirror images apart; set it to 0"
            )
        if self.canonicalizer.architecture in TILT_NETWORKS:
            self._check_tilt()
        elif self.canonicalizer.base is not None and self.init is not None:
            raise InputError(
                f"canonicalizer.base is {self.canonicalizer.base!r} and init {self.init!r}; the "
                "base is what is started from: leave init out"
            )
        check_count("realign", self.realign, 0)
        check_range("turned_share", self.turned_share, 0, 1 - 1 / group.order - 1e-6)
        for name in ("teacher", "turned_share"):
            if getattr(self, name) and not self.beta:
                raise InputError(
                    f"{name} is {getattr(self, name)!r} with a beta of 0, the weight of the prior "
                    f"loss; set beta, or leave {name} out"
                )
        if self.realign and not self.turned_share:
            raise InputError(
                f"realign is {self.realign} with a turned_share of 0; expected the share of the "
                "photos that may be turned, 0.2 say"
            )
        any_angle = self.canonicalizer.architecture in OVER_ANY_ANGLE
        if any_angle and (self.task.weight or self.contrastive):
            raise InputError(
                f"{self.canonicalizer.architecture} takes no task loss and no contrastive loss; "
                "leave them out"
            )
        if (self.realign or self.labels is not None or self.teacher is not None) and (
            self.task.weight or any_angle or not group.is_exact
        ):
            raise InputError(
                "labels, realign and teacher are for trainings on photos alone, of C4 or D4; leave "
                "them out"
            )
        if self.turned_share and any_angle:
            raise InputError(
                f"turned_share is {self.turned_share} for {self.canonicalizer.architecture}, whose "
                "loss does not allow for it; leave it out"
            )
        if self.realign and self.canonicalizer.base is not None:
            raise InputError(
                f"realign is {self.realign} with canonicalizer.base {self.canonicalizer.base!r}, "
                "whose weights stay as they are; leave one of them out"
            )
        if self.realign and (self.devices > 1 or self.nodes > 1):
            raise InputError(
                f"realign is {self.realign} with {self.devices} devices on {self.nodes} nodes; "
                "it runs in one process: leave devices and nodes out"
            )
        if self.limit is not None and self.task.weight:
            raise InputError(
                "limit is set with a task loss, which takes its photos from data.annotations; "
                "shorten that file instead"
            )
        if not self.beta and not self.task.weight:
            raise InputError(
                "beta and task.weight are both 0, so nothing says which way is up; set one of them"
            )
        architecture = self.canonicalizer.architecture
        if self.contrastive and not architecture.startswith("orbit_"):
            raise InputError(
                f"contrastive is {self.contrastive} for {architecture!r}, whose turns are apart by "
                "construction; set it to 0, or choose an architecture over the orbit: orbit_cnn, "
                "orbit_lite0"
            )

    def _check_teacher(self) -> None:
        for name in ("prior", "turned_share", "realign"):
            if getattr(self, name) not in (None, 0):
                raise InputError(
                    f"teacher is {self.teacher!r}, who says of each photo how it is turned, and "
                    f"{name} is {getattr(self, name)!r}; leave one of them out"
                )

    def _check_tilt(self) -> None:
        if self.canonicalizer.base is None:
            raise InputError(
                f"canonicalizer.base is not set for {self.canonicalizer.architecture}, which finds "
                "the tilt that a bundled canonicalizer leaves; set it to c4"
            )
        if self.task.weight or self.contrastive or self.init not in (None, "base", "imagenet"):
            raise InputError(
                f"{self.canonicalizer.architecture} takes no task loss, no contrastive loss, and "
                "only base or imagenet as init; leave them out"
            )
