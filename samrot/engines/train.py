"""``samrot train``: fit a canonicalizer to upright photos with the prior loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from samrot.canonicalizers import (
    Canonicalizer,
    build_canonicalizer,
    load_canonicalizer,
    load_imagenet_weights,
    save_canonicalizer,
)
from samrot.data.coco import CocoDataset
from samrot.data.images import list_images, read_image
from samrot.data.pose_photos import PoseAugmentation, PosePhotos
from samrot.engines.run_folder import RunFolder
from samrot.errors import InputError
from samrot.losses import prior_loss
from samrot.weights import load_into


@dataclass(kw_only=True)
class PhotoSettings:
    """Upright photos.

    Args:
        images: folders of photos, searched with their subfolders.
        annotations: COCO JSON that lists the photos of the (one) folder to use.
    """

    images: list[str] = field(default_factory=list)
    annotations: str | None = None


@dataclass(kw_only=True)
class CanonicalizerSettings:
    """What is trained.

    Args:
        architecture: gcnn, gwrn, escnn_wrn, orbit_cnn or orbit_lite0.
        size: side of the thumbnail, pixels.
        frame: square or squares (blind to the aspect ratio), letterbox (sees the whole photo).
        mirror_average: at inference, add the evidence of the mirror image.
        aspect_log_odds: at inference, evidence from the aspect ratio; 0 hides it.
        options: of the network: widths, blocks, dropout, stages, frozen_stages.
    """

    architecture: str = "gwrn"
    size: int = 97
    frame: str = "square"
    mirror_average: bool = True
    aspect_log_odds: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class OptimSettings:
    """How it is trained: AdamW, linear warm-up, cosine decay, averaged weights.

    Args:
        steps: optimiser steps.
        batch_size: photos per step.
        learning_rate: at its peak.
        weight_decay: of AdamW.
        warmup_steps: linear warm-up.
        ema_decay: of the exponential moving average of the weights, which is what is saved.
        bfloat16: autocast the network to bfloat16.
    """

    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    ema_decay: float = 0.998
    bfloat16: bool = True

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then cosine decay to 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(kw_only=True)
class TrainSettings:
    """Settings of ``samrot train``.

    Args:
        out: run folder; one that exists with the same settings is continued.
        data: photos to train on.
        val: photos to measure pose accuracy on; may be empty.
        val_limit: of the number of photos measured.
        canonicalizer: what is trained.
        prior: probability of each pose in the photos that the segmenter was trained on.
        augmentation: random views of the photos.
        cutmix: probability that the photos of a batch lend each other a rectangle.
        optim: how it is trained.
        init: checkpoint to start from, of the same architecture; or imagenet, for orbit_lite0.
        cache: keep decoded photos in memory.
        workers: processes that augment photos; 0 for none.
        device: cpu, cuda, ...
        seed: of everything random.
        val_every: steps between measurements and checkpoints.
    """

    out: str
    data: PhotoSettings = field(default_factory=PhotoSettings)
    val: PhotoSettings = field(default_factory=PhotoSettings)
    val_limit: int = 500
    canonicalizer: CanonicalizerSettings = field(default_factory=CanonicalizerSettings)
    prior: list[float] = field(default_factory=lambda: [1.0, 0.0, 0.0, 0.0])
    augmentation: PoseAugmentation = field(default_factory=PoseAugmentation)
    cutmix: float = 0.3
    optim: OptimSettings = field(default_factory=OptimSettings)
    init: str | None = None
    cache: bool = True
    workers: int = 1
    device: str = "cpu"
    seed: int = 0
    val_every: int = 500


def train(settings: TrainSettings) -> Path:
    """Train a canonicalizer; the same settings and folder continue an interrupted run.

    Returns:
        Path of the checkpoint, ``canonicalizer.safetensors`` in the run folder.

    Raises:
        InputError: if settings or data are unusable.
    """
    if settings.cutmix > 0 and max(settings.prior) < 1.0:
        raise InputError(
            f"cutmix is {settings.cutmix} with prior {settings.prior}; mixing photos needs that "
            "all of them are turned alike: set cutmix to 0"
        )
    paths, stored_frame = find_photos(settings.data)
    torch.manual_seed(settings.seed)
    canonicalizer = _build(settings).to(settings.device)
    run = RunFolder.open(settings.out, settings)
    val = find_photos(settings.val) if settings.val.images else ([], False)
    photos = PosePhotos(
        paths,
        canonicalizer.thumbnail,
        settings.augmentation,
        cache=settings.cache,
        apply_exif=not stored_frame,
        seed=settings.seed,
    )
    return _fit(settings, run, canonicalizer, photos, *val)


def find_photos(source: PhotoSettings) -> tuple[list[Path], bool]:
    """The photo files of a source, and whether they are used in the stored frame (COCO JSON)."""
    if not source.images:
        raise InputError("data.images is empty; expected a folder of upright photos")
    if source.annotations is None:
        return [path for folder in source.images for path in list_images(folder)], False
    if len(source.images) != 1:
        raise InputError(
            f"data.annotations with {len(source.images)} image folders; expected one folder"
        )
    dataset = CocoDataset.load(source.images[0], source.annotations)
    return [dataset.image_path(image_id) for image_id in dataset.image_ids], True


def pose_accuracy(canonicalizer: Canonicalizer, photos: Sequence[Path], apply_exif: bool) -> float:
    """Share of upright photos whose pose is the identity; by the roll law, of their turns too."""
    poses = [canonicalizer.pose(read_image(path, apply_exif=apply_exif)) for path in photos]
    return float(np.mean([pose == 0 for pose in poses]))


def _build(settings: TrainSettings) -> Canonicalizer:
    chosen = settings.canonicalizer
    canonicalizer = build_canonicalizer(
        chosen.architecture,
        size=chosen.size,
        frame=chosen.frame,
        mirror_average=chosen.mirror_average,
        aspect_log_odds=chosen.aspect_log_odds,
        **chosen.options,
    )
    if settings.init == "imagenet":
        load_imagenet_weights(canonicalizer)
    elif settings.init is not None:
        initial = load_canonicalizer(settings.init).network.state_dict()
        load_into(canonicalizer.network, initial, settings.init)
    return canonicalizer


def _fit(
    settings: TrainSettings,
    run: RunFolder,
    canonicalizer: Canonicalizer,
    photos: PosePhotos,
    val_paths: list[Path],
    val_stored_frame: bool,
) -> Path:
    optim, device = settings.optim, torch.device(settings.device)
    checkpoint = run.path / "canonicalizer.safetensors"
    canonicalizer.train()  # escnn keeps other buffers in eval mode, and the average must match
    ema = AveragedModel(
        canonicalizer, multi_avg_fn=get_ema_multi_avg_fn(optim.ema_decay), use_buffers=True
    )
    optimizer = torch.optim.AdamW(
        canonicalizer.parameters(), lr=optim.learning_rate, weight_decay=optim.weight_decay
    )
    prior = torch.tensor(settings.prior, device=device)
    step = run.restore(model=canonicalizer, ema=ema, optimizer=optimizer)
    sampler = range(step * optim.batch_size, optim.steps * optim.batch_size)
    loader = DataLoader(
        photos, optim.batch_size, sampler=sampler, num_workers=settings.workers, drop_last=True
    )
    progress = tqdm(loader, initial=step, total=optim.steps, desc="train", unit="step")
    smoothed_loss = float("nan")
    for thumbnails in progress:
        for group in optimizer.param_groups:
            group["lr"] = optim.learning_rate_at(step)
        canonicalizer.train()
        mix = np.random.default_rng([settings.seed, step])
        images = canonicalizer.normalise(
            cut_and_mix(thumbnails.to(device), settings.cutmix, mix)
        ).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=optim.bfloat16):
            logits = canonicalizer.network(images)
        loss = prior_loss(logits.float(), prior)
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {loss.item()} at step {step}; the last good checkpoint is in "
                f"{run.path}: lower optim.learning_rate ({optim.learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(canonicalizer.parameters(), 1.0)
        optimizer.step()
        ema.update_parameters(canonicalizer)
        step += 1
        smoothed_loss = loss.item() if step == 1 or math.isnan(smoothed_loss) else (
            0.98 * smoothed_loss + 0.02 * loss.item()
        )  # fmt: skip
        progress.set_postfix(loss=f"{smoothed_loss:.3f}", refresh=False)
        if step % settings.val_every == 0 or step == optim.steps:
            average = cast(Canonicalizer, ema.module).eval()
            row: dict[str, object] = {"step": step, "loss": round(smoothed_loss, 4)}
            if val_paths:
                measured = val_paths[: settings.val_limit]
                accuracy = pose_accuracy(average, measured, not val_stored_frame)
                row["pose_accuracy"] = round(accuracy, 4)
            run.log(row)
            tqdm.write("  ".join(f"{key} {value}" for key, value in row.items()))
            chosen = settings.canonicalizer
            save_canonicalizer(
                average,
                checkpoint,
                architecture=chosen.architecture,
                options=chosen.options,
            )
            average.train()
            run.save(step, model=canonicalizer, ema=ema, optimizer=optimizer)
    return checkpoint


def cut_and_mix(thumbnails: Tensor, probability: float, random: np.random.Generator) -> Tensor:
    """Paste a rectangle of each photo's neighbour in the batch: upright photos mix to upright ones.

    Args:
        thumbnails: (B, 3, S, S).
        probability: that the batch is mixed at all.
    Source: CutMix, Yun et al. 2019, here without mixing labels, since all are the same.
    """
    if random.random() >= probability:
        return thumbnails
    size = thumbnails.shape[-1]
    height, width = random.integers(size // 5, size // 2 + 1, 2)
    top, left = random.integers(0, size - height + 1), random.integers(0, size - width + 1)
    mixed = thumbnails.clone()
    window = (..., slice(top, top + height), slice(left, left + width))
    mixed[window] = thumbnails.roll(1, 0)[window]
    return mixed
