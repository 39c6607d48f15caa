"""Training a SAM on prompted views: many prompts of many photos in one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.data.coco import CocoDataset
from samrot.files import save_tensors
from samrot.geometry.plane import xywh_to_xyxy
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters.sam_mini import MiniDecoder
from samrot.structures.prompts import Prompts
from samrot.training.losses import MaskLossWeights, mask_iou, mask_losses
from samrot.training.objective import TrainingObjective
from samrot.training.prompted_views import PromptedView, PromptedViews

SAM_LOSS = MaskLossWeights()


class MaskObjective(TrainingObjective):
    """Masks and predicted IoUs of prompted instances, as SAM is trained.

    Args:
        sam: the model, in which what does not require gradients is left alone.
        views: views to train on.
        save_sam: writes a checkpoint of a model.
        checkpoint_name: file name of the checkpoint.
        val: photos to measure the mean IoU of ground-truth boxes on, and at most how many.
        refine: probability that a step also learns to refine its own masks.
        candidates: probability that a step also trains the three candidate masks.
        seed: seed of these choices.
        weights: weights of the losses.
        trained_on: (N,) uint64, fingerprints of photos, written with the weights.
        cache: folder to keep the embeddings of a frozen image encoder in; None computes them anew.
    """

    def __init__(
        self,
        sam: Sam,
        views: PromptedViews,
        save_sam: Callable[[Sam, Path, np.ndarray | None], None],
        checkpoint_name: str,
        *,
        val: tuple[CocoDataset | None, int],
        refine: float,
        candidates: float,
        seed: int,
        weights: MaskLossWeights = SAM_LOSS,
        cache: Path | None = None,
        trained_on: np.ndarray | None = None,
    ) -> None:
        super().__init__(sam, views, checkpoint_name=checkpoint_name, measure="val_mean_iou")
        self.save_sam = save_sam
        self.trained_on = trained_on
        self.val = val
        self.refine, self.candidates, self.seed = refine, candidates, seed
        self.weights = weights
        self.frozen_encoder = not any(p.requires_grad for p in sam.image_encoder.parameters())
        self.cache = None if cache is None else EmbeddingCache(cache)

    def collate(self, items: list[PromptedView]) -> list[PromptedView]:
        """Keep the views apart: their numbers of instances differ."""
        return items

    def forward(self, batch: Sequence[PromptedView], step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean loss of the views, and the mean IoU of their first masks."""
        sam: Any = self.model
        refine, candidates = np.random.default_rng([self.seed, step]).random(2)
        with torch.set_grad_enabled(not self.frozen_encoder):
            if self.cache is None:
                embeddings = sam.image_encoder(normalised_squares(sam, batch))
            else:
                embeddings = self.cache(sam, batch)
        loss, iou = prompted_loss(
            sam,
            embeddings,
            batch,
            refine=bool(refine < self.refine),
            candidates=bool(candidates < self.candidates),
            weights=self.weights,
        )
        return loss, {"iou": iou}

    def validate(self, model: nn.Module, rank: int, world_size: int) -> Mapping[str, Tensor]:
        """Sum of the IoUs over the instances of this process's photos."""
        dataset, limit = self.val
        if dataset is None:
            return {}
        ious = box_ious(model, dataset, dataset.image_ids[:limit][rank::world_size])
        return {"val_mean_iou": torch.tensor(sum(ious)), "count": torch.tensor(len(ious))}

    def save(self, model: nn.Module, path: Path) -> None:
        """Write the checkpoint that ``load_segmenter`` reads."""
        self.save_sam(model, path, self.trained_on)


class EmbeddingCache:
    """Embeddings of views on disk, found again by the content of the view.

    Args:
        folder: folder of one run, since the embeddings are those of its image encoder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, sam: Sam, batch: Sequence[PromptedView]) -> Tensor:
        """(B, C, H, W), without gradient; only views not seen before are encoded."""
        paths = [self.folder / f"{_fingerprint(view)}.safetensors" for view in batch]
        new = [i for i, path in enumerate(paths) if not path.is_file()]
        if new:
            encoded = sam.image_encoder(normalised_squares(sam, [batch[i] for i in new]))
            for i, embedding in zip(new, encoded, strict=True):
                save_tensors(paths[i], {"embedding": embedding.float().contiguous().cpu()})
        stored = [load_file(path)["embedding"] for path in paths]
        return torch.stack(stored).to(sam.device)


def _fingerprint(view: PromptedView) -> str:
    content = view.image.numpy(force=True).tobytes() + repr(view.content_hw).encode()
    return hashlib.sha256(content).hexdigest()


def box_ious(sam: Sam, dataset: CocoDataset, image_ids: Sequence[int]) -> list[float]:
    """IoU of each instance of some photos, prompted by its ground-truth box."""
    predictor = RobustPredictor(sam, None)
    ious: list[float] = []
    for image_id in image_ids:
        instances = dataset.instances(image_id)
        if not instances:
            continue
        predictor.set_image(dataset.read(image_id))
        boxes_xyxy = xywh_to_xyxy([instance["bbox"] for instance in instances])
        masks = predictor.predict_prompts(Prompts(boxes_xyxy=boxes_xyxy)).masks
        for mask, instance in zip(masks[:, 0].cpu().numpy(), instances, strict=True):
            truth = dataset.mask(instance)
            ious.append(float((mask & truth).sum() / max(1, (mask | truth).sum())))
    return ious


def normalised_squares(sam: Sam, batch: Sequence[PromptedView]) -> Tensor:
    """What the image encoder takes, (B, 3, S, S): normalised, then padded with zeros."""
    pixels = torch.stack([view.image for view in batch]).to(sam.device).float()
    normalised = (pixels - sam.pixel_mean) / sam.pixel_std
    for image, view in zip(normalised, batch, strict=True):
        image[:, view.content_hw[0] :] = 0
        image[:, :, view.content_hw[1] :] = 0
    return normalised.contiguous(memory_format=torch.channels_last)


def prompted_loss(
    sam: Sam,
    embeddings: Tensor,
    batch: Sequence[PromptedView],
    *,
    refine: bool = False,
    candidates: bool = False,
    weights: MaskLossWeights = SAM_LOSS,
) -> tuple[Tensor, float]:
    """Mask and IoU losses, and the mean IoU of the first masks.

    The loss is the mean over views of the mean over their prompts, so that a view weighs the same
    in any batch; a view without instances counts as 0.

    Args:
        sam: the model, in training mode.
        embeddings: (B, C, H, W) of the views.
        batch: B views.
        refine: decode a second time, with the first masks as mask input.
        candidates: train the three candidate masks too, not the single one alone.
        weights: weights of the losses.
    """
    num_masks = 4 if candidates else 1
    device = embeddings.device
    loss, ious = embeddings.sum() * 0, []
    for by_points in (False, True):
        chosen = [i for i, v in enumerate(batch) if v.by_points == by_points and len(v.masks)]
        if not chosen:
            continue
        boxes = torch.cat([batch[i].boxes_xyxy for i in chosen]).to(device)
        points_xy = torch.cat([batch[i].points_xy for i in chosen]).to(device)
        point_labels = torch.cat([batch[i].point_labels for i in chosen]).to(device)
        halves = torch.cat([batch[i].masks for i in chosen]).to(device).float() / 255
        counts = torch.tensor([len(batch[i].masks) for i in chosen], device=device)
        of_prompt = torch.tensor(chosen, device=device).repeat_interleave(counts)
        share = (1.0 / (len(batch) * counts)).repeat_interleave(counts)
        mask_inputs = None
        for _ in range(2 if refine else 1):
            sparse, dense = sam.prompt_encoder(
                points=(points_xy, point_labels) if by_points else None,
                boxes=None if by_points else boxes,
                masks=mask_inputs,
            )
            logits, predicted = predict_masks_per_prompt(
                sam, embeddings.index_select(0, of_prompt), sparse, dense, num_masks
            )
            logits, predicted = logits.float(), predicted.float()
            mask_inputs = logits[:, :1].detach()
            targets = F.adaptive_avg_pool2d(halves, (logits.shape[-2], logits.shape[-1]))
            stride = sam.image_encoder.img_size / logits.shape[-1]
            losses, actual = _prompt_losses(
                logits, predicted, targets, weights_near_boxes(boxes, logits, stride), weights
            )
            loss = loss + (share * losses).sum() / (2 if refine else 1)
        ious.append(actual)
    return loss, float(torch.cat(ious).mean()) if ious else float("nan")


def predict_masks_per_prompt(
    sam: Sam, embeddings: Tensor, sparse: Tensor, dense: Tensor, num_masks: int
) -> tuple[Tensor, Tensor]:
    """``MaskDecoder.predict_masks`` with an embedding for each prompt: photos share a batch.

    Args:
        sam: the model whose decoder is used.
        embeddings: (N, C, H, W), of the photo that each prompt belongs to.
        sparse: (N, T, C) prompt tokens.
        dense: (N, C, H, W) prompt embeddings.
        num_masks: how many of the four masks, the single one first.

    Returns:
        (N, num_masks, h, w) logits and (N, num_masks) predicted IoUs.
    """
    decoder = sam.mask_decoder
    if isinstance(decoder, MiniDecoder):  # which takes them as they are
        masks, ious = decoder.predict_masks(
            embeddings, sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        return masks[:, :num_masks], ious[:, :num_masks]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    image = embeddings + dense
    positions = sam.prompt_encoder.get_dense_pe().expand(len(image), -1, -1, -1)
    read, pixels = decoder.transformer(image, positions, tokens)
    upscaled = decoder.output_upscaling(pixels.transpose(1, 2).reshape(image.shape))
    heads = decoder.output_hypernetworks_mlps[:num_masks]
    filters = torch.stack([head(read[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    masks = (filters @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
    return masks, decoder.iou_prediction_head(read[:, 0])[:, :num_masks]


def weights_near_boxes(boxes_xyxy: Tensor, logits: Tensor, stride: float) -> Tensor:
    """Weights of pixels, (N, h, w): 1 in the box and half its size around it, 0.05 elsewhere.

    Args:
        boxes_xyxy: (N, 4), pixels of the input square.
        logits: (N, C, h, w), of which only the shape counts.
        stride: input pixels per logit.
    """
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / (2 * stride)
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=8.0) / (2 * stride) * 1.5
    at = torch.arange(logits.shape[-1], device=boxes_xyxy.device) + 0.5
    near_x = (at[None] - centre[:, :1]).abs() < half[:, :1]
    near_y = (at[None] - centre[:, 1:]).abs() < half[:, 1:]
    return 0.05 + 0.95 * (near_y[:, :, None] & near_x[:, None, :]).float()


def _prompt_losses(
    logits: Tensor,
    predicted_ious: Tensor,
    targets: Tensor,
    pixel_weights: Tensor,
    weights: MaskLossWeights,
) -> tuple[Tensor, Tensor]:
    """(N,) losses, and (N,) IoUs of the first masks.

    The single mask learns always, of the three candidates the best one (as SAM trains).
    """
    losses = torch.stack(
        [mask_losses(masks, targets, pixel_weights, weights) for masks in logits.unbind(1)], dim=1
    )
    with torch.no_grad():
        actual = torch.stack([mask_iou(masks, targets) for masks in logits.unbind(1)], dim=1)
    loss = losses[:, 0] + weights.iou * ((predicted_ious - actual) ** 2).mean(dim=1)
    if losses.shape[1] > 1:
        loss = loss + losses[:, 1:].amin(dim=1)
    return loss, actual[:, 0]
