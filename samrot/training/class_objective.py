"""Training of classifiers: random views of photos, the loss, and what to watch of the poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from samrot.canonicalizers import Canonicalizer
from samrot.data.classified_photos import ClassifiedPhotos
from samrot.errors import InputError, check_choice, check_range
from samrot.geometry.groups import C4, C8, FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.models.classifiers import ClassifierNetwork, save_classifier
from samrot.robust.frames import SCORES_CANVAS
from samrot.training.losses import prior_loss
from samrot.training.network_objective import NetworkObjective, scores_of
from samrot.training.pose_photos import epoch_order

TURNS = {"none": None, "c4": C4, "c8": C8}
STATISTICS_PHOTOS = 512
PHOTOS_TOGETHER = 64


@dataclass(kw_only=True)
class ClassAugmentation:
    """Random views of the training photos.

    Args:
        shift: largest shift along each axis, as a share of the side; the edge is repeated.
        mirror: probability of the mirror image.
        turns: group whose elements turn the views, drawn evenly: none, c4 or c8. The prior of a
            canonicalizer is turned along.
    """

    shift: float = 0.125
    mirror: float = 0.5
    turns: str = "none"

    def __post_init__(self) -> None:
        check_range("augmentation.shift", self.shift, 0, 0.5)
        check_range("augmentation.mirror", self.mirror, 0, 1)
        check_choice("augmentation.turns", self.turns, TURNS)


class ClassViews(Dataset[Any]):
    """An endless stream of views, (3, S, S) float 0..255, with label and pose; repeatable.

    Item n is a function of n and the seed alone. The pose is an element of ``group``.

    Args:
        photos: what is trained on, kept in memory as squares of S x S.
        size: S, pixels.
        augmentation: random views.
        group: group by whose elements poses are told apart.
        seed: seed of the order and the views.

    Raises:
        InputError: if the views are turned by what is no element of the group.
    """

    def __init__(
        self,
        photos: ClassifiedPhotos,
        size: int,
        augmentation: ClassAugmentation,
        group: FiniteGroup,
        seed: int,
    ) -> None:
        self.squares = [square(photos.read(n), size) for n in range(len(photos))]
        self.labels = photos.labels
        self.augmentation = augmentation
        self.group = group
        self.seed = seed
        self.turns = TURNS[augmentation.turns]
        if self.turns is not None and not set(self.turns.names) <= set(group.names):
            raise InputError(
                f"augmentation.turns is {augmentation.turns}, but the canonicalizer is of "
                f"{group.name}; expected turns that it knows"
            )

    def __getitem__(self, n: int) -> tuple[Tensor, int, int]:
        epoch, place = divmod(n, len(self.squares))
        index = int(epoch_order(self.seed, epoch, len(self.squares))[place])
        rng = np.random.default_rng([self.seed, n])
        view, chosen = self.squares[index], self.augmentation
        side = len(view)
        most = round(chosen.shift * side)
        top, left = rng.integers(0, 2 * most + 1, 2)
        view = np.pad(view, ((most, most), (most, most), (0, 0)), "edge")
        view = view[top : top + side, left : left + side]
        if rng.random() < chosen.mirror:
            view = view[:, ::-1]
        pose = 0
        if self.turns is not None:
            g = self.turns.random(rng)
            pose = self.group.names.index(self.turns.names[g])
            view = turned(view, self.group, pose)
        return as_tensor(view), int(self.labels[index]), pose


def square(photo: np.ndarray, size: int) -> np.ndarray:
    """The centred square of a photo, (H, W, 3) uint8, as (size, size, 3)."""
    height, width = photo.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = photo[top : top + side, left : left + side]
    if side == size:
        return middle
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA)


def turned(view: np.ndarray, group: FiniteGroup, g: int) -> np.ndarray:
    """A view, (S, S, 3) uint8, turned by an element as ``samrot evaluate`` turns photos."""
    size_hw = (view.shape[0], view.shape[1])
    pose = Pose.of_element(group, g)
    return PlaneTransform.from_pose(pose, size_hw, SCORES_CANVAS).image(view, None)


def as_tensor(view: np.ndarray) -> Tensor:
    """(S, S, 3) uint8 to (3, S, S) float, 0..255."""
    return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)).astype(np.float32))


class ClassObjective(NetworkObjective):
    """Cross-entropy of a classifier, and the prior loss of the canonicalizer before it.

    Args:
        network: the classifier.
        canonicalizer: what stands before it; None for the plain network.
        views: what is trained on.
        save_canonicalizer: writes its checkpoint.
        beta: weight of the prior loss: the poses of upright photos are the identity.
        label_smoothing: of the cross-entropy.
        val: photos that accuracy is measured on, each turned by an element drawn evenly: of the
            canonicalizer's group, or, without one, of what turns the views; None measures nothing.
        size: side of the views, pixels.
        canonicalizer_speed: factor of the learning rate of the canonicalizer.
    """

    table: Tensor
    prior: Tensor

    def __init__(
        self,
        network: ClassifierNetwork,
        canonicalizer: Canonicalizer | None,
        views: ClassViews,
        save_canonicalizer: Callable[[Any, Path], None],
        *,
        beta: float,
        label_smoothing: float,
        val: ClassifiedPhotos | None,
        size: int,
        canonicalizer_speed: float = 1.0,
    ) -> None:
        super().__init__(
            network,
            canonicalizer,
            "classification",
            views,
            save_classifier,
            save_canonicalizer,
            (STATISTICS_PHOTOS, PHOTOS_TOGETHER),
            canonicalizer_speed,
        )
        self.beta, self.label_smoothing = beta, label_smoothing
        self.views, self.val, self.size = views, val, size
        group = views.group
        self.register_buffer("table", torch.tensor(group.table), persistent=False)
        self.register_buffer("prior", F.one_hot(torch.tensor(0), group.order), persistent=False)

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy and prior loss; accuracy, and how far the poses are from one pose.

        ``pose_entropy``, nats, is that of the poses of all photos of the batch together, as moved
        upright; ``pose_entropy_per_photo`` the mean of each one's own. A canonicalizer that still
        turns photos at random augments (Mondal et al. 2023, section 4): the first shows when it
        ceases to.
        """
        images, labels, known = batch
        scores, logits = self.scores(images)
        loss = F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)
        shown = {"accuracy": float((scores.argmax(dim=1) == labels).float().mean())}
        if logits is None:
            return loss, shown
        # Evidence as of the photo before it was turned: entry h is that of g h.
        upright = logits.float().gather(1, self.table[known])
        of_prior = prior_loss(upright, self.prior.float())
        shares = upright.detach().softmax(dim=1)
        shown |= {
            "prior_loss": of_prior.item(),
            "pose_accuracy": float((upright.argmax(dim=1) == 0).float().mean()),
            "pose_entropy": float(torch.special.entr(shares.mean(dim=0)).sum()),
            "pose_entropy_per_photo": float(torch.special.entr(shares).sum(dim=1).mean()),
        }
        return loss + self.beta * of_prior, shown

    def validate(self, model: nn.Module, rank: int, world_size: int) -> Mapping[str, Tensor]:
        """Number of this process's photos that are classified right."""
        self.refresh_statistics(model)
        if self.val is None:
            return {}
        device = next(model.parameters()).device
        own = range(rank, len(self.val), world_size)
        right = 0
        for first in range(0, len(own), PHOTOS_TOGETHER):
            numbers = own[first : first + PHOTOS_TOGETHER]
            images = torch.stack([self._val_view(number) for number in numbers])
            scores, _ = scores_of(model, images.to(device))
            labels = torch.from_numpy(self.val.labels[list(numbers)])
            right += int((scores.argmax(dim=1).cpu() == labels).sum())
        return {self.measure: torch.tensor(right), "count": torch.tensor(len(own))}

    def _val_view(self, number: int) -> Tensor:
        assert self.val is not None
        view = square(self.val.read(number), self.size)
        behind = hasattr(self.model, "canonicalizer")
        group = self.views.group if behind else self.views.turns
        if group is not None:
            g = group.random(np.random.default_rng([self.views.seed, number]))
            view = turned(view, group, g)
        return as_tensor(view)
