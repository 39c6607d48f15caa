"""``samrot train``: fit a canonicalizer, on upright photos alone or through a segmenter."""

from __future__ import annotations

from collections.abc import Sequence
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
from samrot.canonicalizers.architectures import TILT_NETWORKS
from samrot.canonicalizers.checkpoints import build_tilt_canonicalizer, load_features_of_base
from samrot.canonicalizers.escnn_so2 import VectorCanonicalizer
from samrot.canonicalizers.tilt import TiltCanonicalizer, TiltRule
from samrot.data.coco import CocoDataset
from samrot.data.images import read_image
from samrot.data.photos import find_photos, select_photos
from samrot.data.pose_labels import estimate_prior, read_pose_labels
from samrot.errors import InputError
from samrot.geometry.groups import find_group
from samrot.runtime.run_folder import TRAINED_ON, RunFolder
from samrot.segmenters import save_sam
from samrot.structures.fingerprints import fingerprint, pack, union, unpack
from samrot.training.finetune import build_sam, sam_file_name
from samrot.training.fit import build_fabric, fit, open_run
from samrot.training.objective import TrainingObjective
from samrot.training.pose_objectives import PoseObjective, ThroughSegmenterObjective, Weights
from samrot.training.pose_photos import PosePhotos
from samrot.training.prompted_views import PromptedViews
from samrot.training.realign import train_in_rounds
from samrot.training.taught import TaughtObjective, TaughtPhotos, load_teacher
from samrot.training.tilt import AngleObjective, AnglePhotos, TiltObjective, TiltPhotos
from samrot.training.train_settings import TrainSettings


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
