"""``samrot train``: fit a canonicalizer, on upright photos alone or through a segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from samrot.canonicalizers import (
    Canonicalizer,
    build_canonicalizer,
    load_base_weights,
    load_canonicalizer,
    load_imagenet_weights,
    save_canonicalizer,
    start_from,
)
from samrot.canonicalizers.architectures import OVER_ANY_ANGLE, TILT_NETWORKS
from samrot.canonicalizers.checkpoints import build_tilt_canonicalizer, load_features_of_base
from samrot.canonicalizers.escnn_so2 import VectorCanonicalizer
from samrot.canonicalizers.tilt import TiltCanonicalizer, TiltRule
from samrot.data.coco import CocoDataset
from samrot.data.images import read_image
from samrot.data.photos import PhotoSettings, find_photos, select_photos
from samrot.data.pose_labels import estimate_prior, read_pose_labels
from samrot.errors import InputError, check_count, check_range
from samrot.geometry.groups import C4, find_group
from samrot.runtime.run_folder import TRAINED_ON, RunFolder
from samrot.segmenters import save_sam
from samrot.structures.fingerprints import fingerprint, pack, union, unpack
from samrot.training.finetune import TrainedSegmenterSettings, build_sam, sam_file_name
from samrot.training.fit import build_fabric, fit, open_run
from samrot.training.fit_settings import FitSettings
from samrot.training.objective import TrainingObjective
from samrot.training.pose_objectives import PoseObjective, ThroughSegmenterObjective, Weights
from samrot.training.pose_photos import PoseAugmentation, PosePhotos
from samrot.training.prompted_views import PromptedViews, ViewSettings
from samrot.training.realign import train_in_rounds
from samrot.training.taught import TaughtObjective, TaughtPhotos, load_teacher
from samrot.training.tilt import AngleObjective, AnglePhotos, TiltObjective, TiltPhotos


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
        for name, is_given in (
            ("prior", self.prior is not None),
            ("turned_share", self.turned_share > 0),
            ("realign", self.realign > 0),
        ):
            if is_given:
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


def train(settings: TrainSettings) -> Path:
    """Train a canonicalizer; the same settings and folder continue an interrupted run.

    Returns:
        Path of the checkpoint, ``canonicalizer.safetensors`` in the run folder.

    Raises:
        InputError: if settings or data are unusable.
    """
    paths, apply_exif = _find_training_photos(settings)
    group = find_group(settings.canonicalizer.group)
    poses = [group.identity] * len(paths)
    if settings.labels is not None:
        poses = read_pose_labels(paths, settings.labels, group)
    if settings.realign:
        return train_in_rounds(settings, paths, apply_exif, poses, train)
    prior = settings.prior
    if isinstance(prior, str):
        prior, apply_exif = estimate_prior(paths, prior, group), None
    assert prior is not None
    if settings.cutmix > 0 and max(prior) < 1.0:
        raise InputError(
            f"cutmix is {settings.cutmix} with prior {prior}; mixing photos needs that all of them "
            "are turned alike: set cutmix to 0"
        )
    val_paths, val_apply_exif = find_photos(settings.val) if settings.val.images else ([], None)
    torch.manual_seed(settings.seed)
    canonicalizer = _build(settings)
    chosen = settings.canonicalizer
    common: dict[str, Any] = {
        "prior": prior,
        "turned_share": settings.turned_share,
        "weights": Weights(settings.beta, settings.contrastive, settings.task.weight),
        "val": (val_paths[: settings.val_limit], val_apply_exif),
    }
    save = partial(
        save_canonicalizer,
        architecture=chosen.architecture,
        options=chosen.options,
        base=chosen.base,
    )
    fabric = build_fabric(settings)  # first, so that all processes read photos at once
    objective: TrainingObjective
    of_photos: dict[str, Any] = {
        "cache": settings.cache,
        "apply_exif": apply_exif,
        "seed": settings.seed,
    }
    if isinstance(canonicalizer, TiltCanonicalizer):
        discs = TiltPhotos(paths, canonicalizer.tilt_thumbnail, settings.augmentation, **of_photos)
        objective = TiltObjective(canonicalizer, discs, save, val=common["val"], seed=settings.seed)
    elif isinstance(canonicalizer, VectorCanonicalizer):
        discs = AnglePhotos(paths, canonicalizer.thumbnail, settings.augmentation, **of_photos)
        objective = AngleObjective(
            canonicalizer, discs, save, val=common["val"], seed=settings.seed
        )
    elif settings.task.weight:
        objective = _through_sam(settings, canonicalizer, save, common)
    elif settings.teacher is not None:
        taught = TaughtPhotos(
            paths,
            canonicalizer.thumbnail,
            settings.augmentation,
            teacher=load_teacher(settings.teacher, group).to(fabric.device),
            cutmix=settings.cutmix,
            poses=poses,
            **of_photos,
        )
        objective = TaughtObjective(canonicalizer, taught, save, **common)
    else:
        photos = PosePhotos(
            paths,
            canonicalizer.thumbnail,
            settings.augmentation,
            cutmix=settings.cutmix,
            poses=poses,
            **of_photos,
        )
        objective = PoseObjective(canonicalizer, photos, save, **common)
    run = open_run(fabric, settings)
    if fabric.is_global_zero:  # which writes the checkpoints
        canonicalizer.trained_on = _fingerprints(settings, paths, apply_exif, run)
    with run.held(by_this_process=fabric.is_global_zero):
        return fit(fabric, settings, run, objective)


def _find_training_photos(settings: TrainSettings) -> tuple[list[Path], bool | None]:
    """Paths of the photos to train on, and whether EXIF applies to them."""
    paths, apply_exif = find_photos(settings.data)
    return [paths[i] for i in settings.within_limit(len(paths))], apply_exif


def _fingerprints(
    settings: TrainSettings, paths: Sequence[Path], apply_exif: bool | None, run: RunFolder
) -> np.ndarray | None:
    """Those of the photos trained on, kept in the run folder, and of what start and teacher saw."""
    kept = run.read_json(TRAINED_ON)
    if kept is None:
        photos = tqdm(paths, desc="fingerprints", unit="image")
        own = [fingerprint(read_image(path, apply_exif=apply_exif)) for path in photos]
        kept = {"fingerprints": pack(own)}
        run.write_json(TRAINED_ON, kept)
    numbers = unpack(kept["fingerprints"])
    start = settings.canonicalizer.base or settings.init
    for known in (start, settings.teacher):
        if known not in (None, "imagenet", "base"):
            numbers = union(numbers, load_canonicalizer(str(known)).trained_on)
    return numbers


def _through_sam(
    settings: TrainSettings, canonicalizer: Canonicalizer, save: Any, common: dict[str, Any]
) -> ThroughSegmenterObjective:
    chosen = settings.task
    data = settings.data
    if data.annotations is None:
        raise InputError(
            "task.weight is set, but data.annotations is not; expected the COCO JSON with the "
            "instance masks of the photos"
        )
    sam = build_sam(chosen.segmenter, chosen.view_size)
    dataset = CocoDataset.load(data.images[0], data.annotations, data.frame)
    dataset = select_photos(dataset, data.include, data.exclude)
    size = sam.image_encoder.img_size
    views = PromptedViews(dataset, size, chosen.views, seed=settings.seed)
    file_name = sam_file_name(chosen.segmenter.name)
    return ThroughSegmenterObjective(canonicalizer, views, save, sam, save_sam, file_name, **common)


def _build(settings: TrainSettings) -> Canonicalizer:
    chosen = settings.canonicalizer
    if chosen.architecture in TILT_NETWORKS:
        tilted = build_tilt_canonicalizer(
            chosen.architecture,
            str(chosen.base),
            size=chosen.size,
            rule=TiltRule(chosen.dead_band_deg, chosen.unknown_below),
            **chosen.options,
        )
        if settings.init == "base":
            load_features_of_base(tilted)
        elif settings.init == "imagenet":
            load_imagenet_weights(tilted)
        return tilted
    canonicalizer = build_canonicalizer(
        chosen.architecture,
        group=chosen.group,
        size=chosen.size,
        frame=chosen.frame,
        mirror_average=chosen.mirror_average,
        mirror_below=chosen.mirror_below,
        aspect_log_odds=chosen.aspect_log_odds,
        dead_band_deg=chosen.dead_band_deg,
        **chosen.options,
    )
    if chosen.base is not None:
        load_base_weights(canonicalizer, chosen.base)
    else:
        start_from(canonicalizer, settings.init)
    return canonicalizer
