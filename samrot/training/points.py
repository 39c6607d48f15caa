"""``samrot train-points``: a network for clouds, plain or behind a canonicalizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from samrot.canonicalizers.clouds import CloudCanonicalizer
from samrot.data.clouds import CloudDataset, CloudSettings
from samrot.errors import InputError, check_choice, check_count, check_range
from samrot.geometry.space import MIN_POINTS
from samrot.models.point_networks import POINT_NETWORKS, PointNetwork, load_point_network
from samrot.training.fit import build_fabric, fit, open_run
from samrot.training.fit_settings import OptimSettings
from samrot.training.network_objective import NetworkFitSettings
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
        architecture: invariant_rotation, vn_rotation, or principal_axes, which has no weights; none
            by default.
        options: options of the network; of invariant_rotation: channels, hidden, scales; of
            vn_rotation: channels, depth, scales, pool.
        prior: identity (the data lie alike) or up (their z axis alone is known).
        beta: weight of the prior loss; 0 learns from the network's loss alone.
        speed: factor of the learning rate of the canonicalizer.
    """

    architecture: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    prior: str = "identity"
    beta: float = 1.0
    speed: float = 1.0

    def __post_init__(self) -> None:
        check_range("canonicalizer.speed", self.speed, 0)
        check_choice("canonicalizer.prior", self.prior, PRIORS)
        check_range("canonicalizer.beta", self.beta, 0)


@dataclass(kw_only=True)
class TrainPointsSettings(NetworkFitSettings):
    """Settings of ``samrot train-points``, besides those of every training of a network.

    Args:
        data: clouds to train on.
        points_per_view: points of each that are drawn, anew every time.
        network: the network for clouds.
        canonicalizer: what stands before it.
        augmentation: random views.
    """

    data: TrainingCloudSettings
    points_per_view: int = 1024
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


def train_points(settings: TrainPointsSettings) -> Path:
    """Train a network for clouds; the same settings and folder continue an interrupted run.

    Returns:
        Path of the run folder, which holds ``network.safetensors`` and
        ``canonicalizer.safetensors``, of what was trained.

    Raises:
        InputError: if settings or data are unusable.
    """
    dataset = settings.data.load()
    kept, held = settings.split(len(dataset))
    kept = kept[settings.within_limit(len(kept))]
    # With as many points as it is trained on: DGCNN counts neighbours.
    val = dataset.part(held).cut(settings.points_per_view) if len(held) else None
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
        dataset.part(kept),
        settings.points_per_view,
        settings.augmentation,
        settings.seed,
    )
    fabric = build_fabric(settings)
    run = open_run(fabric, settings)
    objective = PointObjective(
        network,
        canonicalizer,
        views,
        prior=before.prior,
        beta=before.beta,
        label_smoothing=settings.label_smoothing,
        val=val,
        canonicalizer_speed=before.speed,
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
