"""``samrot train-points``: a network for clouds, plain or behind a canonicalizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samrot.canonicalizers.clouds import CloudCanonicalizer
from samrot.data.clouds import CloudDataset, CloudSettings
from samrot.errors import InputError, check_choice, check_count, check_range
from samrot.geometry.space import MIN_POINTS
from samrot.models.point_networks import POINT_NETWORKS, PointNetwork, load_point_network
from samrot.runtime.run_folder import RunFolder
from samrot.training.fit import FitSettings, OptimSettings, build_fabric, fit
from samrot.training.point_objective import PRIORS, CloudAugmentation, CloudViews, PointObjective


@dataclass(kw_only=True)
class TrainingCloudSettings(CloudSettings):
    """A set of labelled clouds to train on; of its training split, unless told otherwise."""

    split: str = "train"


@dataclass(kw_only=True)
class TrainedNetworkSettings:
    """The network for clouds.

    Args:
        name: pointnet or dgcnn.
        checkpoint: start from it; by default from random weights.
        trained: false keeps it as it is, and trains the canonicalizer alone.
        options: options of a new network: widths, embedding, neighbours (dgcnn).
    """

    name: str = "pointnet"
    checkpoint: str | None = None
    trained: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("network.name", self.name, POINT_NETWORKS)
        if self.checkpoint is None and not self.trained:
            raise InputError(
                "network.trained is false without network.checkpoint; expected a trained network "
                "to keep: give its checkpoint"
            )
        if self.checkpoint is not None and self.options:
            raise InputError(
                f"network.options is {self.options} beside a checkpoint, which holds its own; "
                "leave it out"
            )


@dataclass(kw_only=True)
class TrainedCloudCanonicalizerSettings:
    """The canonicalizer before the network.

    Args:
        architecture: vn_rotation, or principal_axes, which has no weights; none by default.
        options: options of vn_rotation: channels, depth, scales, pool.
        prior: identity (the data lie alike) or up (their z axis alone is known).
        beta: weight of the prior loss; 0 learns from the network's loss alone.
    """

    architecture: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    prior: str = "identity"
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_choice("canonicalizer.prior", self.prior, PRIORS)
        check_range("canonicalizer.beta", self.beta, 0)


@dataclass(kw_only=True)
class TrainPointsSettings(FitSettings):
    """Settings of ``samrot train-points``, besides those of every training.

    Batch norm in the networks makes a step depend on how many processes share a batch.

    Args:
        data: clouds to train on.
        points_per_view: points of each that are drawn, anew every time.
        val_share: share of the clouds, evenly spaced, that is kept aside to measure accuracy on.
        network: the network for clouds.
        canonicalizer: what stands before it.
        augmentation: random views.
        label_smoothing: of the cross-entropy.
    """

    data: TrainingCloudSettings
    points_per_view: int = 1024
    val_share: float = 0.0
    network: TrainedNetworkSettings = field(default_factory=TrainedNetworkSettings)
    canonicalizer: TrainedCloudCanonicalizerSettings = field(
        default_factory=TrainedCloudCanonicalizerSettings
    )
    augmentation: CloudAugmentation = field(default_factory=CloudAugmentation)
    label_smoothing: float = 0.2
    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(
            steps=1000, batch_size=32, warmup_steps=50, ema_decay=0.99, bfloat16=False
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("points_per_view", self.points_per_view, MIN_POINTS)
        check_range("val_share", self.val_share, 0, 0.5)
        check_range("label_smoothing", self.label_smoothing, 0, 1)
        optim = self.optim
        if optim.batch_size < 2 * optim.accumulate * self.devices * self.nodes:
            raise InputError(
                f"optim.batch_size is {optim.batch_size}; expected at least 2 for each of devices "
                "x nodes x optim.accumulate: batch norm needs them"
            )


def train_points(settings: TrainPointsSettings) -> Path:
    """Train a network for clouds; the same settings and folder continue an interrupted run.

    Returns:
        Path of the run folder, which holds ``network.safetensors`` and
        ``canonicalizer.safetensors``, of what was trained.

    Raises:
        InputError: if settings or data are unusable.
    """
    dataset = settings.data.load()
    held = np.diff(np.floor(np.arange(len(dataset) + 1) * settings.val_share)) > 0
    val = dataset.part(np.flatnonzero(held)) if held.any() else None
    torch.manual_seed(settings.seed)
    network = _build_network(settings.network, dataset)
    before, canonicalizer = settings.canonicalizer, None
    if before.architecture is not None:
        canonicalizer = CloudCanonicalizer(before.architecture, before.options)
    parts = [network] if canonicalizer is None else [network, canonicalizer]
    if not any(p.requires_grad for part in parts for p in part.parameters()):
        raise InputError(
            f"network.trained is false and canonicalizer.architecture {before.architecture}, which "
            "has no weights, so nothing is trained; set one of them"
        )
    views = CloudViews(
        dataset.part(np.flatnonzero(~held)),
        settings.points_per_view,
        settings.augmentation,
        settings.seed,
    )
    fabric = build_fabric(settings)
    with fabric.rank_zero_first():
        run = RunFolder.open(settings.out, settings, may_grow=settings.may_grow)
    objective = PointObjective(
        network,
        canonicalizer,
        views,
        prior=before.prior,
        beta=before.beta,
        label_smoothing=settings.label_smoothing,
        val=val,
    )
    with run.held(by_this_process=fabric.is_global_zero):
        fit(fabric, settings, run, objective)
    return run.path


def _build_network(chosen: TrainedNetworkSettings, dataset: CloudDataset) -> PointNetwork:
    if chosen.checkpoint is None:
        return PointNetwork(chosen.name, dataset.classes, chosen.options, parts=dataset.has_parts)
    network = load_point_network(chosen.checkpoint, name=chosen.name)
    dataset.check_labels_of(network.classes, network.parts, chosen.checkpoint)
    return network.requires_grad_(chosen.trained)
