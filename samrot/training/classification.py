"""``samrot train-classifier``: a classifier of photos, plain or behind a canonicalizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from samrot.canonicalizers import (
    Canonicalizer,
    build_canonicalizer,
    save_canonicalizer,
    start_from,
)
from samrot.data.classified_photos import ClassifiedPhotos, ClassifiedPhotoSettings
from samrot.errors import InputError, check_choice, check_count, check_range
from samrot.geometry.groups import C8, find_group
from samrot.models.classifiers import ClassifierNetwork, load_classifier_network
from samrot.training.class_objective import ClassAugmentation, ClassObjective, ClassViews
from samrot.training.fit import build_fabric, fit, open_run
from samrot.training.fit_settings import OptimSettings
from samrot.training.network_objective import NetworkFitSettings

GROUPS = ("c4", "c8")


@dataclass(kw_only=True)
class TrainingPhotoSettings(ClassifiedPhotoSettings):
    """Labelled upright photos to train on; of CIFAR's training batches, unless told otherwise."""

    split: str = "train"


@dataclass(kw_only=True)
class TrainedClassifierSettings:
    """The classifier.

    Args:
        name: cifar_resnet20, 32, 44 or 56, or torchvision:NAME.
        checkpoint: start from it, published or of ``samrot train-classifier``; by default from
            random weights.
        trained: false keeps it as it is, and trains the canonicalizer alone.
    """

    name: str = "cifar_resnet20"
    checkpoint: str | None = None
    trained: bool = True

    def __post_init__(self) -> None:
        if self.checkpoint is None and not self.trained:
            raise InputError(
                "network.trained is false without network.checkpoint; expected a trained network "
                "to keep: give its checkpoint"
            )


@dataclass(kw_only=True)
class ClassCanonicalizerSettings:
    """The canonicalizer before the classifier.

    Args:
        architecture: as of ``samrot train``: gcnn or gwrn (c4), escnn_wrn, orbit_cnn,
            orbit_lite0, ...; none by default.
        group: c4 or c8.
        size: side of the thumbnails, pixels; with gcnn, gwrn and escnn_wrn, size - 1 must be
            divisible by 2 to the number of widths.
        mirror_average: whether to add, at inference, the evidence of the mirror image.
        options: options of the network: widths, blocks, dropout, ...
        init: start from imagenet (orbit_lite0, 1 and 2), or from a checkpoint of the same
            architecture; by default from random weights.
        beta: weight of the prior loss, that photos are upright; 0 learns from the classifier's loss
            alone.
        speed: factor of the learning rate of the canonicalizer, which starts from nothing beside a
            classifier that does not.
    """

    architecture: str | None = None
    group: str = "c8"
    size: int = 33
    mirror_average: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    beta: float = 1.0
    speed: float = 1.0

    def __post_init__(self) -> None:
        check_choice("canonicalizer.group", self.group, GROUPS)
        check_range("canonicalizer.speed", self.speed, 0)
        check_range("canonicalizer.beta", self.beta, 0)


@dataclass(kw_only=True)
class TrainClassifierSettings(NetworkFitSettings):
    """Settings of ``samrot train-classifier``, besides those of every training of a network.

    Args:
        data: labelled photos to train on.
        view_size: side of the views, pixels; photos of other sizes are cut to their centred square,
            and scaled.
        network: the classifier.
        canonicalizer: what stands before it.
        augmentation: random views.
    """

    data: TrainingPhotoSettings
    view_size: int = 32
    network: TrainedClassifierSettings = field(default_factory=TrainedClassifierSettings)
    canonicalizer: ClassCanonicalizerSettings = field(default_factory=ClassCanonicalizerSettings)
    augmentation: ClassAugmentation = field(default_factory=ClassAugmentation)
    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(
            steps=2000,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=0.01,
            warmup_steps=50,
            ema_decay=0.99,
            bfloat16=False,
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("view_size", self.view_size, 8, 1024)


def train_classifier(settings: TrainClassifierSettings) -> Path:
    """Train a classifier; the same settings and folder continue an interrupted run.

    Returns:
        Path of the run folder, which holds ``network.safetensors`` and
        ``canonicalizer.safetensors``, of what was trained.

    Raises:
        InputError: if settings or data are unusable.
    """
    photos = settings.data.load()
    kept, held = settings.split(len(photos))
    kept = kept[settings.within_limit(len(kept))]
    torch.manual_seed(settings.seed)
    network = _build_network(settings.network, photos)
    canonicalizer = _build_canonicalizer(settings.canonicalizer)
    if canonicalizer is None and not settings.network.trained:
        raise InputError(
            "network.trained is false and canonicalizer.architecture is not set, so nothing is "
            "trained; set one of them"
        )
    views = ClassViews(
        photos.part(kept),
        settings.view_size,
        settings.augmentation,
        C8 if canonicalizer is None else canonicalizer.group,
        settings.seed,
    )
    fabric = build_fabric(settings)
    run = open_run(fabric, settings)
    save = partial(
        save_canonicalizer,
        architecture=str(settings.canonicalizer.architecture),
        options=settings.canonicalizer.options,
    )
    objective = ClassObjective(
        network,
        canonicalizer,
        views,
        save,
        beta=settings.canonicalizer.beta,
        label_smoothing=settings.label_smoothing,
        val=photos.part(held) if len(held) else None,
        size=settings.view_size,
        canonicalizer_speed=settings.canonicalizer.speed,
    )
    with run.held(by_this_process=fabric.is_global_zero):
        fit(fabric, settings, run, objective)
    return run.path


def _build_network(
    chosen: TrainedClassifierSettings, photos: ClassifiedPhotos
) -> ClassifierNetwork:
    if chosen.checkpoint is None:
        return ClassifierNetwork(chosen.name, photos.classes)
    network = load_classifier_network(chosen.name, chosen.checkpoint, photos.classes)
    photos.check_classes(network.classes, chosen.checkpoint)
    return network.requires_grad_(chosen.trained)


def _build_canonicalizer(chosen: ClassCanonicalizerSettings) -> Canonicalizer | None:
    if chosen.architecture is None:
        return None
    canonicalizer = build_canonicalizer(
        chosen.architecture,
        group=find_group(chosen.group).name,
        size=chosen.size,
        mirror_average=chosen.mirror_average,
        **chosen.options,
    )
    start_from(canonicalizer, chosen.init)
    return canonicalizer
