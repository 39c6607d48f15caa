"""Training on clouds: random views of them, priors of their rotations, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from samrot.canonicalizers.clouds import CloudCanonicalizer, save_cloud_canonicalizer
from samrot.data.clouds import CloudDataset
from samrot.errors import InputError, check_choice, check_range
from samrot.geometry.space import ROTATIONS, move_points
from samrot.models.point_networks import PointNetwork, save_point_network
from samrot.robust.module import CanonicalizedModule
from samrot.training.network_objective import NetworkObjective, scores_of
from samrot.training.pose_photos import epoch_order

STATISTICS_CLOUDS = 256


def identity_prior_loss(rotations: Tensor, known: Tensor) -> Tensor:
    """Penalise every rotation away from how the data lie: mean of ``|R - Q|^2``.

    Args:
        rotations: (B, 3, 3), as estimated.
        known: (B, 3, 3), how each cloud was turned.
    Source: Mondal et al. 2023, section 4: the prior loss, in its form for continuous groups.
    """
    return ((rotations - known) ** 2).sum(dim=(1, 2)).mean()


def up_prior_loss(rotations: Tensor, known: Tensor) -> Tensor:
    """Penalise leaning alone, for data whose headings are arbitrary: ``|R z - Q z|^2``."""
    return ((rotations - known)[:, :, 2] ** 2).sum(dim=1).mean()


PRIORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": identity_prior_loss,
    "up": up_prior_loss,
}


@dataclass(kw_only=True)
class CloudAugmentation:
    """Random views of the training clouds.

    Args:
        rotations: aligned (none), z (headings) or so3.
        scale: (least, most) factor of the size.
        shift: largest shift along each axis, in radii of the cloud.
        jitter: deviation of the noise on each coordinate, in radii.
    """

    rotations: str = "aligned"
    scale: tuple[float, float] = (0.8, 1.25)
    shift: float = 0.1
    jitter: float = 0.01

    def __post_init__(self) -> None:
        check_choice("augmentation.rotations", self.rotations, ROTATIONS)
        for value in self.scale:
            check_range("augmentation.scale", value, 1e-3)
        if self.scale[0] > self.scale[1]:
            raise InputError(
                f"augmentation.scale is {self.scale}; expected the smaller factor first"
            )
        check_range("augmentation.shift", self.shift, 0)
        check_range("augmentation.jitter", self.jitter, 0)


class CloudViews(Dataset[Any]):
    """An endless stream of clouds: (points, label, rotation); item n is a function of n and seed.

    Args:
        dataset: where they come from.
        num_points: points of each; a smaller cloud repeats some.
        augmentation: random views.
        seed: seed of the order and the views.
    """

    def __init__(
        self, dataset: CloudDataset, num_points: int, augmentation: CloudAugmentation, seed: int
    ) -> None:
        self.dataset = dataset
        self.num_points = num_points
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        epoch, place = divmod(n, len(self.dataset))
        index = int(epoch_order(self.seed, epoch, len(self.dataset))[place])
        rng = np.random.default_rng([self.seed, n])
        cloud, label = self.dataset.clouds[index], self.dataset.labels[index]
        chosen = np.resize(rng.permutation(len(cloud)), self.num_points)
        view = self.augmentation
        rotation = ROTATIONS[view.rotations](rng)
        points = move_points(cloud[chosen], rotation) * rng.uniform(*view.scale)
        points = points + rng.uniform(-view.shift, view.shift, 3)
        points = points + view.jitter * rng.normal(size=points.shape)
        own = label[chosen] if isinstance(label, np.ndarray) else np.int64(label)
        return (
            torch.from_numpy(points.astype(np.float32)),
            torch.as_tensor(own),
            torch.from_numpy(rotation.astype(np.float32)),
        )


class PointObjective(NetworkObjective):
    """Cross-entropy of a network, and the prior loss of the canonicalizer before it.

    Args:
        network: network for clouds; as it is, where its parameters require no gradients.
        canonicalizer: what stands before it; None for the plain network.
        views: what is trained on.
        prior: a key of ``PRIORS``.
        beta: weight of the prior loss.
        label_smoothing: of the cross-entropy.
        val: what accuracy is measured on: each cloud turned at random in SO(3), if there is a
            canonicalizer, and as the views are, if not; None measures nothing.
        canonicalizer_speed: factor of the learning rate of the canonicalizer.
    """

    def __init__(
        self,
        network: PointNetwork,
        canonicalizer: CloudCanonicalizer | None,
        views: CloudViews,
        *,
        prior: str,
        beta: float,
        label_smoothing: float,
        val: CloudDataset | None,
        canonicalizer_speed: float = 1.0,
    ) -> None:
        super().__init__(
            network,
            canonicalizer,
            "pointcloud",
            views,
            save_point_network,
            save_cloud_canonicalizer,
            (STATISTICS_CLOUDS, 32),
            canonicalizer_speed,
        )
        self.views, self.val = views, val
        self.prior_loss, self.beta, self.label_smoothing = PRIORS[prior], beta, label_smoothing

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy and prior loss; accuracy."""
        points, labels, known = batch
        scores, rotations = self.scores(points)
        prior = points.new_zeros(())
        if rotations is not None:
            prior = self.prior_loss(rotations, known)
        scores, labels = scores.flatten(0, -2), labels.flatten()
        loss = F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)
        accuracy = float((scores.argmax(dim=1) == labels).float().mean())
        return loss + self.beta * prior, {"accuracy": accuracy, "prior_loss": prior.item()}

    def validate(self, model: nn.Module, rank: int, world_size: int) -> Mapping[str, Tensor]:
        """Sum of the accuracies of this process's clouds."""
        self.refresh_statistics(model)
        if self.val is None:
            return {}
        behind = isinstance(model, CanonicalizedModule)
        kind = "so3" if behind else self.views.augmentation.rotations
        device = next(model.parameters()).device
        total, own = 0.0, range(rank, len(self.val), world_size)
        for number in own:
            rotation = ROTATIONS[kind](np.random.default_rng([self.views.seed, number]))
            cloud = move_points(self.val.clouds[number], rotation).astype(np.float32)
            scores, _ = scores_of(model, torch.from_numpy(cloud).to(device)[None])
            found = scores[0].argmax(dim=-1).cpu().numpy()
            total += float((found == self.val.labels[number]).mean())
        return {self.measure: torch.tensor(total), "count": torch.tensor(len(own))}
