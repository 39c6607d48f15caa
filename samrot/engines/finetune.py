"""``samrot finetune``: fit a SAM to masks prompted by boxes and points."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from samrot.data.coco import CocoDataset
from samrot.data.prompted_views import PromptedView, PromptedViews, ViewSettings, collate
from samrot.engines.run_folder import RunFolder
from samrot.engines.train import OptimSettings
from samrot.errors import InputError
from samrot.losses import mask_iou, mask_losses
from samrot.segmenters import Prompts, SamSegmenter, load_segmenter, save_sam_mini
from samrot.segmenters.sam_mini import build_sam_mini


@dataclass(kw_only=True)
class MaskSettings:
    """Photos with instance masks, in COCO format.

    Args:
        images: folder of photos.
        annotations: COCO JSON.
    """

    images: str | None = None
    annotations: str | None = None

    def load(self) -> CocoDataset | None:
        """The dataset, or None where no folder is given."""
        if self.images is None:
            return None
        if self.annotations is None:
            raise InputError("annotations is not set; expected the COCO JSON of the photos")
        return CocoDataset.load(self.images, self.annotations)


@dataclass(kw_only=True)
class FinetuneSettings:
    """Settings of ``samrot finetune``, which trains all of ``sam_mini``.

    Args:
        out: run folder; one that exists with the same settings is continued.
        data: photos to train on; without any, procedural scenes alone.
        val: photos to measure the mean IoU of ground-truth boxes on; may be empty.
        val_limit: of the number of photos measured.
        init: ``sam_mini`` checkpoint to start from; None starts from random weights.
        view_size: side of the training views, pixels, a multiple of 32.
        views: random views of photos and scenes.
        optim: how it is trained.
        refine: probability that a step also learns to refine its own masks.
        candidates: probability that a step also trains the three candidate masks.
        workers: processes that make views; 0 for none.
        device: cpu, cuda, ...
        seed: of everything random.
        val_every: steps between measurements and checkpoints.
    """

    out: str
    data: MaskSettings = field(default_factory=MaskSettings)
    val: MaskSettings = field(default_factory=MaskSettings)
    val_limit: int = 40
    init: str | None = None
    view_size: int = 320
    views: ViewSettings = field(default_factory=ViewSettings)
    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(steps=4000, batch_size=8, learning_rate=1e-3)
    )
    refine: float = 0.1
    candidates: float = 0.25
    workers: int = 1
    device: str = "cpu"
    seed: int = 0
    val_every: int = 500


def finetune(settings: FinetuneSettings) -> Path:
    """Train ``sam_mini``; the same settings and folder continue an interrupted run.

    Returns:
        Path of the checkpoint, ``sam_mini.safetensors`` in the run folder.

    Raises:
        InputError: if settings or data are unusable.
    """
    if settings.view_size % 32:
        raise InputError(f"view_size is {settings.view_size}; expected a multiple of 32")
    dataset, val_dataset = settings.data.load(), settings.val.load()
    torch.manual_seed(settings.seed)
    sam = build_sam_mini(settings.view_size)
    if settings.init is not None:
        initial = load_segmenter("sam_mini", checkpoint=settings.init)
        assert isinstance(initial, SamSegmenter)
        sam.load_state_dict(initial.sam.state_dict())
    run = RunFolder.open(settings.out, settings)
    views = PromptedViews(dataset, settings.view_size, settings.views, seed=settings.seed)
    return _fit(settings, run, sam.to(settings.device), views, val_dataset)


def box_mean_iou(segmenter: SamSegmenter, dataset: CocoDataset, limit: int) -> float:
    """Mean IoU over the instances of the first photos, prompted by their ground-truth boxes."""
    ious: list[float] = []
    for image_id in dataset.image_ids[:limit]:
        instances = dataset.instances(image_id)
        if not instances:
            continue
        boxes_xywh = np.array([instance["bbox"] for instance in instances], dtype=np.float64)
        boxes_xyxy = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], 1)
        encoding = segmenter.encode(dataset.read(image_id))
        masks = segmenter.decode(encoding, Prompts(boxes_xyxy=boxes_xyxy)).masks[:, 0].cpu().numpy()
        for mask, instance in zip(masks, instances, strict=True):
            truth = dataset.mask(instance)
            ious.append(float((mask & truth).sum() / max(1, (mask | truth).sum())))
    return float(np.mean(ious))


def _fit(
    settings: FinetuneSettings,
    run: RunFolder,
    sam: Sam,
    views: PromptedViews,
    val_dataset: CocoDataset | None,
) -> Path:
    optim, device = settings.optim, torch.device(settings.device)
    checkpoint = run.path / "sam_mini.safetensors"
    ema = AveragedModel(sam, multi_avg_fn=get_ema_multi_avg_fn(optim.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(
        sam.parameters(), lr=optim.learning_rate, weight_decay=optim.weight_decay
    )
    step = run.restore(model=sam, ema=ema, optimizer=optimizer)
    loader = DataLoader(
        views,  # type: ignore[arg-type]
        optim.batch_size,
        sampler=range(step * optim.batch_size, optim.steps * optim.batch_size),
        num_workers=settings.workers,
        collate_fn=collate,
    )
    sam.train()
    smoothed: dict[str, float] = {}
    progress = tqdm(loader, initial=step, total=optim.steps, desc="finetune", unit="step")
    for batch in progress:
        for group in optimizer.param_groups:
            group["lr"] = optim.learning_rate_at(step)
        refine, candidates = np.random.default_rng([settings.seed, step]).random(2)
        with torch.autocast(device.type, torch.bfloat16, enabled=optim.bfloat16):
            loss, iou = batch_loss(
                sam,
                batch,
                refine=bool(refine < settings.refine),
                candidates=bool(candidates < settings.candidates),
            )
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {loss.item()} at step {step}; the last good checkpoint is in "
                f"{run.path}: lower optim.learning_rate ({optim.learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        ema.update_parameters(sam)
        step += 1
        for name, value in (("loss", loss.item()), ("iou", iou)):
            if not math.isnan(value):
                smoothed[name] = 0.98 * smoothed.get(name, value) + 0.02 * value
        progress.set_postfix({k: f"{v:.3f}" for k, v in smoothed.items()}, refresh=False)
        if step % settings.val_every == 0 or step == optim.steps:
            row: dict[str, object] = {"step": step}
            row |= {name: round(value, 4) for name, value in smoothed.items()}
            save_sam_mini(ema.module.state_dict(), checkpoint)
            if val_dataset is not None:
                segmenter = load_segmenter("sam_mini", checkpoint=checkpoint, device=str(device))
                assert isinstance(segmenter, SamSegmenter)
                row["val_mean_iou"] = round(
                    box_mean_iou(segmenter, val_dataset, settings.val_limit), 4
                )
            run.log(row)
            tqdm.write("  ".join(f"{key} {value}" for key, value in row.items()))
            run.save(step, model=sam, ema=ema, optimizer=optimizer)
    return checkpoint


def batch_loss(
    sam: Sam, batch: list[PromptedView], *, refine: bool, candidates: bool
) -> tuple[Tensor, float]:
    """Mask and IoU losses of a batch, and the mean IoU of its first masks.

    Args:
        sam: in training mode.
        batch: views; those without instances are skipped.
        refine: decode a second time, with the first masks as mask input.
        candidates: train the three candidate masks too, not the single one alone.
    """
    trained = 4 if candidates else 1
    device = sam.device
    pixels = torch.stack([view.image for view in batch]).to(device).float()
    normalised = (pixels - sam.pixel_mean) / sam.pixel_std
    for image, view in zip(normalised, batch, strict=True):
        image[:, view.content_hw[0] :] = 0  # SAM pads after normalising
        image[:, :, view.content_hw[1] :] = 0
    embeddings = sam.image_encoder(normalised.contiguous(memory_format=torch.channels_last))
    logits, ious, targets, weights = [], [], [], []
    for by_points in (False, True):
        chosen = [i for i, v in enumerate(batch) if v.by_points == by_points and len(v.masks)]
        if not chosen:
            continue
        boxes = torch.cat([batch[i].boxes_xyxy for i in chosen]).to(device)
        points_xy = torch.cat([batch[i].points_xy for i in chosen]).to(device)
        point_labels = torch.cat([batch[i].point_labels for i in chosen]).to(device)
        target = torch.cat([batch[i].masks for i in chosen]).to(device).float() / 255
        of_prompt = torch.tensor([i for i in chosen for _ in batch[i].masks], device=device)
        mask_inputs = None
        for _ in range(2 if refine else 1):
            sparse, dense = sam.prompt_encoder(
                points=(points_xy, point_labels) if by_points else None,
                boxes=None if by_points else boxes,
                masks=mask_inputs,
            )
            masks, iou = predict_masks_per_prompt(
                sam, embeddings.index_select(0, of_prompt), sparse, dense, trained
            )
            mask_inputs = masks[:, :1].detach().float()
            logits.append(masks.float())
            ious.append(iou.float())
            targets.append(target)
            weights.append(_near(boxes, masks.shape[-1]))
    if not logits:
        return embeddings.sum() * 0, float("nan")
    return _combine(torch.cat(logits), torch.cat(ious), torch.cat(targets), torch.cat(weights))


def predict_masks_per_prompt(
    sam: Sam, embeddings: Tensor, sparse: Tensor, dense: Tensor, num_masks: int
) -> tuple[Tensor, Tensor]:
    """``MaskDecoder.predict_masks`` with an embedding for each prompt: photos share a batch.

    Args:
        sam: whose decoder is used.
        embeddings: (N, C, H, W), of the photo that each prompt belongs to.
        sparse: (N, T, C) prompt tokens.
        dense: (N, C, H, W) prompt embeddings.
        num_masks: of the four masks, the single one first.

    Returns:
        (N, num_masks, h, w) logits and (N, num_masks) predicted IoUs.
    """
    decoder = sam.mask_decoder
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    image = embeddings + dense
    read, pixels = decoder.transformer(image, sam.prompt_encoder.get_dense_pe(), tokens)
    upscaled = decoder.output_upscaling(pixels.transpose(1, 2).reshape(image.shape))
    heads = decoder.output_hypernetworks_mlps[:num_masks]
    filters = torch.stack([head(read[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    masks = (filters @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
    return masks, decoder.iou_prediction_head(read[:, 0])[:, :num_masks]


def _near(boxes_xyxy: Tensor, low_res: int) -> Tensor:
    """Weights of pixels, (N, h, w): 1 in the box and half its size around it, 0.05 elsewhere."""
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 4  # low resolution is at stride 2
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=8.0) / 4 * 1.5
    at = torch.arange(low_res, device=boxes_xyxy.device) + 0.5
    near_x = (at[None] - centre[:, :1]).abs() < half[:, :1]
    near_y = (at[None] - centre[:, 1:]).abs() < half[:, 1:]
    return 0.05 + 0.95 * (near_y[:, :, None] & near_x[:, None, :]).float()


def _combine(
    logits: Tensor, ious: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, float]:
    """The single mask learns always, of the three candidates the best one (as SAM trains)."""
    losses = torch.stack(
        [mask_losses(masks, targets, weights) for masks in logits.unbind(1)], dim=1
    )
    with torch.no_grad():
        actual = torch.stack([mask_iou(masks, targets) for masks in logits.unbind(1)], dim=1)
    loss = losses[:, 0].mean() + ((ious - actual) ** 2).mean()
    if losses.shape[1] > 1:
        loss = loss + losses[:, 1:].amin(dim=1).mean()
    return loss, float(actual[:, 0].mean())
