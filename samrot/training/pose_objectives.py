"""Training a canonicalizer: on photos alone, or through a segmenter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.utils.data import Dataset

from samrot.canonicalizers import Canonicalizer
from samrot.data.images import read_image
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.straight_through import canonical_images
from samrot.training.losses import orbit_contrastive_loss, prior_loss
from samrot.training.mask_objective import normalised_squares, prompted_loss
from samrot.training.objective import TrainingObjective
from samrot.training.prompted_views import PromptedView, PromptedViews


class Weights(NamedTuple):
    """How much each loss counts."""

    prior: float
    contrastive: float
    task: float


class PoseObjective(TrainingObjective):
    """Prior and contrastive loss on thumbnails of upright photos; no segmenter is needed.

    Args:
        canonicalizer: what is trained.
        dataset: dataset of (3, S, S) uint8 views.
        save_canonicalizer: writes a checkpoint.
        prior: (|G|,) probability of each pose.
        turned_share: share of the photos that are turned from it, as of ``prior_loss``.
        weights: weights of the losses.
        val: photos to measure pose accuracy on, and whether EXIF orientation applies to them.
    """

    def __init__(
        self,
        canonicalizer: Canonicalizer,
        dataset: Dataset[Any],
        save_canonicalizer: Callable[[Canonicalizer, Path], None],
        *,
        prior: Sequence[float],
        turned_share: float,
        weights: Weights,
        val: tuple[Sequence[Path], bool | None],
    ) -> None:
        super().__init__(
            nn.ModuleDict({"canonicalizer": canonicalizer}),
            dataset,
            checkpoint_name="canonicalizer.safetensors",
            measure="val_pose_accuracy",
        )
        self.register_buffer("prior", torch.tensor(prior), persistent=False)
        self.turned_share = turned_share
        self.save_canonicalizer = save_canonicalizer
        self.weights = weights
        self.val = val

    prior: Tensor

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the losses, and the share of photos whose pose is the identity."""
        _, loss, accuracy = self.pose_loss(batch, self.prior)
        return loss, {"pose_accuracy": accuracy}

    def pose_loss(self, thumbnails: Tensor, prior: Tensor) -> tuple[Tensor, Tensor, float]:
        """(B, |G|) logits, the losses that need no segmenter, and the pose accuracy.

        Args:
            thumbnails: (B, 3, S, S) uint8.
            prior: as of ``prior_loss``.
        """
        model: Any = self.model
        canonicalizer = model["canonicalizer"]
        images = canonicalizer.normalise(thumbnails).contiguous(memory_format=torch.channels_last)
        contrastive = images.new_zeros(())
        if self.weights.contrastive:
            vectors = canonicalizer.network.orbit_vectors(images).float()
            logits = canonicalizer.network.score_vectors(vectors)
            contrastive = orbit_contrastive_loss(vectors)
        else:
            logits = canonicalizer.network(images).float()
        loss = self.weights.contrastive * contrastive
        if self.weights.prior:
            loss = loss + self.weights.prior * prior_loss(logits, prior, self.turned_share)
        return logits, loss, float((logits.argmax(dim=1) == 0).float().mean())

    def validate(self, model: nn.Module, rank: int, world_size: int) -> Mapping[str, Tensor]:
        """Number of this process's photos whose pose is the identity."""
        paths, apply_exif = self.val
        if not paths:
            return {}
        canonicalizer: Any = model["canonicalizer"]  # type: ignore[index]
        poses = [
            canonicalizer.estimate(read_image(path, apply_exif=apply_exif))
            for path in paths[rank::world_size]
        ]
        correct = sum(pose.element == 0 and pose.tilt_deg == 0 for pose in poses)
        return {self.measure: torch.tensor(correct), "count": torch.tensor(len(poses))}

    def save(self, model: nn.Module, path: Path) -> None:
        """Write the checkpoint that ``load_canonicalizer`` reads."""
        self.save_canonicalizer(model["canonicalizer"], path)  # type: ignore[index]


class PromptedPoseViews(Dataset[Any]):
    """Prompted views, each with its thumbnail: (3, S, S) float32 and the view."""

    def __init__(self, views: PromptedViews, canonicalizer: Canonicalizer) -> None:
        self.views = views
        self.thumbnail = canonicalizer.thumbnail

    def __getitem__(self, n: int) -> tuple[Tensor, PromptedView]:
        view = self.views[n]
        height, width = view.content_hw
        content = view.image[:, :height, :width].permute(1, 2, 0).numpy()
        squares = self.thumbnail(content)
        middle = torch.from_numpy(squares[len(squares) // 2]).float()
        return middle, view


class ThroughSegmenterObjective(PoseObjective):
    """The segmenter's own loss, on the image that the canonicalizer makes (LC, Kaba et al. 2023).

    The pose is chosen hard, as at inference, and its gradient is that of the probabilities
    (straight-through). With a prior loss beside it, this is the objective of Mondal et al. 2023.

    Args:
        canonicalizer, save_canonicalizer, prior, turned_share, weights, val: as in
            ``PoseObjective``.
        views: prompted views of upright photos.
        sam: the segmenter; trained along where its parameters require gradients.
        save_sam: writes its checkpoint.
        sam_name: file name of that.
    """

    sam: Any

    def __init__(
        self,
        canonicalizer: Canonicalizer,
        views: PromptedViews,
        save_canonicalizer: Callable[[Canonicalizer, Path], None],
        sam: Sam,
        save_sam: Callable[[Sam, Path], None],
        sam_name: str,
        *,
        prior: Sequence[float],
        turned_share: float,
        weights: Weights,
        val: tuple[Sequence[Path], bool | None],
    ) -> None:
        super().__init__(
            canonicalizer,
            PromptedPoseViews(views, canonicalizer),
            save_canonicalizer,
            prior=prior,
            turned_share=turned_share,
            weights=weights,
            val=val,
        )
        self.trains_sam = any(p.requires_grad for p in sam.parameters())
        if self.trains_sam:
            cast(nn.ModuleDict, self.model)["sam"] = sam
        self.sam = sam
        self.save_sam, self.sam_name = save_sam, sam_name

    def collate(self, items: list[Any]) -> Any:
        """Stack the thumbnails; keep the views apart, their numbers of instances differ."""
        thumbnails, views = zip(*items, strict=True)
        return torch.stack(thumbnails), list(views)

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the losses; pose accuracy and mean IoU."""
        thumbnails, views = batch
        logits, loss, accuracy = self.pose_loss(thumbnails, self.prior)
        squares = normalised_squares(self.sam, views)
        group: Any = self.model["canonicalizer"].group  # type: ignore[index]
        canonical = canonical_images(squares, logits, group)
        embeddings = self.sam.image_encoder(canonical.contiguous(memory_format=torch.channels_last))
        poses = logits.argmax(dim=1).tolist()
        canonical_views = [canonical_view(v, pose) for v, pose in zip(views, poses, strict=True)]
        task_loss, iou = prompted_loss(self.sam, embeddings, canonical_views)
        shown = {"pose_accuracy": accuracy, "iou": iou, "task_loss": task_loss.item()}
        return loss + self.weights.task * task_loss, shown

    def save(self, model: nn.Module, path: Path) -> None:
        """Write the canonicalizer's checkpoint, and the segmenter's if it is trained."""
        super().save(model, path)
        if self.trains_sam:
            prefix = path.name.removesuffix(self.checkpoint_name)
            self.save_sam(model["sam"], path.with_name(prefix + self.sam_name))  # type: ignore[index]


def canonical_view(view: PromptedView, element: int) -> PromptedView:
    """The whole square of a view, padding included, moved back by an element of D4."""
    size_hw = (view.image.shape[-2], view.image.shape[-1])
    transform = PlaneTransform.to_canonical(Pose(element), size_hw)
    of_masks = PlaneTransform.to_canonical(
        Pose(element), (view.masks.shape[-2], view.masks.shape[-1])
    )
    boxes = transform.boxes(view.boxes_xyxy.numpy(force=True))
    points = transform.points(view.points_xy.numpy(force=True).reshape(-1, 2))
    return view._replace(
        image=transform.logits(view.image),
        masks=of_masks.logits(view.masks),
        boxes_xyxy=torch.from_numpy(boxes.astype(np.float32)),
        points_xy=torch.from_numpy(points.astype(np.float32)).reshape(view.points_xy.shape),
    )
