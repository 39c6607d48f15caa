"""``samrot finetune``: fit a SAM to masks prompted by boxes and points."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import Sam

from samrot.data.coco import FRAMES, CocoDataset, merge_datasets
from samrot.data.photos import select_photos
from samrot.errors import InputError, check_choice, check_range
from samrot.segmenters import SegmenterWeights, check_plain_sam, load_segmenter, save_sam
from samrot.segmenters.loading import MINI_VERSIONS, mini_version
from samrot.segmenters.lora import add_lora
from samrot.segmenters.sam_mini import load_imagenet_encoder
from samrot.structures.fingerprints import fingerprint, union
from samrot.training.fit import build_fabric, fit, open_run
from samrot.training.fit_settings import FitSettings, OptimSettings
from samrot.training.losses import MaskLossWeights
from samrot.training.mask_objective import MaskObjective
from samrot.training.prompted_views import PromptedViews, ViewSettings
from samrot.wording import counted

TRAINED = ("all", "decoder", "lora", "none")


@dataclass(kw_only=True)
class MaskDataSettings:
    """Photos with instance masks, in COCO format.

    Args:
        images: folder of photos, or several.
        annotations: COCO JSON of the folder, or of each, in the same order.
        frame: frame of the annotations: stored, or displayed (EXIF applied).
        include: text file of photos, the ends of their paths, one a line: only these are used.
        exclude: text file of the same kind: these are left out.
    """

    images: str | list[str] | None = None
    annotations: str | list[str] | None = None
    frame: str = FRAMES[0]
    include: str | None = None
    exclude: str | None = None

    def load(self) -> CocoDataset | None:
        """The datasets as one, or None where no folder is given."""
        images, annotations = (
            [value] if isinstance(value, str) else list(value or ())
            for value in (self.images, self.annotations)
        )
        if len(images) != len(annotations):
            raise InputError(
                f"images lists {counted(len(images), 'folder')} and annotations "
                f"{counted(len(annotations), 'file')}; expected the COCO JSON of each folder"
            )
        if not images:
            return None
        datasets = [
            CocoDataset.load(*pair, self.frame) for pair in zip(images, annotations, strict=True)
        ]
        return select_photos(merge_datasets(datasets), self.include, self.exclude)


@dataclass(kw_only=True)
class TrainedSegmenterSettings(SegmenterWeights):
    """What is trained.

    Args:
        name: sam_mini, sam_vit_b, sam_vit_l or sam_vit_h.
        checkpoint: weights to start from; None takes the bundled or official one.
        from_scratch: start from random weights instead (sam_mini only).
        version: architecture of a sam_mini from scratch: 2, or 1 for that of samrot 0.1.0.
        imagenet: start the encoder of a sam_mini from scratch from published ImageNet weights.
        trained: all; decoder (the prompt encoder and the image encoder stay as they are); or lora
            (the decoder, and low-rank updates of the image encoder, merged when saved). none is
            for ``samrot train`` through a frozen segmenter.
        lora_rank: rank of the updates.
    """

    from_scratch: bool = False
    version: int = 2
    imagenet: bool = False
    trained: str = "all"
    lora_rank: int = 8

    def __post_init__(self) -> None:
        check_choice("segmenter.trained", self.trained, TRAINED)
        check_range("segmenter.lora_rank", self.lora_rank, 1)
        check_choice("segmenter.version", self.version, MINI_VERSIONS)
        if self.imagenet and not (self.from_scratch and self.version == 2):
            raise InputError(
                "segmenter.imagenet is for a sam_mini from scratch, of version 2; leave it out"
            )
        if self.from_scratch and (self.name != "sam_mini" or self.checkpoint is not None):
            raise InputError(
                "segmenter.from_scratch is for sam_mini without a checkpoint; leave it out to "
                f"start from the weights of {self.name}"
            )


@dataclass(kw_only=True)
class FinetuneSettings(FitSettings):
    """Settings of ``samrot finetune``, besides those of every training.

    Args:
        segmenter: what is trained.
        data: photos to train on; without any, procedural scenes alone.
        val: photos to measure the mean IoU of ground-truth boxes on; may be empty.
        val_limit: largest number of photos measured.
        view_size: side of the training views, pixels: a multiple of 32 for sam_mini; the others
            take only their own (1024), which is the default for them.
        views: random views of photos and scenes.
        refine: probability that a step also learns to refine its own masks.
        candidates: probability that a step also trains the three candidate masks.
        loss: weights of the losses.
        cache_embeddings: keep the embeddings of a frozen image encoder in the run folder
            (``segmenter.trained: decoder``, with ``views.distinct`` set); 4 MB a view for SAM.
    """

    segmenter: TrainedSegmenterSettings = field(default_factory=TrainedSegmenterSettings)
    data: MaskDataSettings = field(default_factory=MaskDataSettings)
    val: MaskDataSettings = field(default_factory=MaskDataSettings)
    val_limit: int = 40
    view_size: int | None = None
    views: ViewSettings = field(default_factory=ViewSettings)
    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(steps=4000, batch_size=8, learning_rate=1e-4)
    )
    refine: float = 0.1
    candidates: float = 0.25
    loss: MaskLossWeights = field(default_factory=MaskLossWeights)
    cache_embeddings: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("val_limit", self.val_limit, 1)
        check_range("refine", self.refine, 0, 1)
        check_range("candidates", self.candidates, 0, 1)
        if self.segmenter.trained == "none":
            raise InputError("segmenter.trained is 'none'; expected all, decoder or lora")
        if self.limit is not None and not self.data.images:
            raise InputError(
                f"limit is {self.limit} without photos; give data.images, or leave it out"
            )
        if self.cache_embeddings and (
            self.segmenter.trained != "decoder" or self.views.distinct is None
        ):
            raise InputError(
                f"cache_embeddings is set with segmenter.trained {self.segmenter.trained!r} and "
                f"views.distinct {self.views.distinct}; expected 'decoder' and a number of views, "
                "since only what repeats can be kept"
            )


def finetune(settings: FinetuneSettings) -> Path:
    """Fine-tune a SAM; the same settings and folder continue an interrupted run.

    Returns:
        Path of the checkpoint in the run folder: ``sam_mini.safetensors``, or an official-format
        ``sam_vit_*.pth``; ``load_segmenter(name, checkpoint=...)`` reads both.

    Raises:
        InputError: if settings or data are unusable.
    """
    dataset, val_dataset = settings.data.load(), settings.val.load()
    if dataset is not None:
        with_instances = [i for i in dataset.image_ids if dataset.instances(i)]
        kept = settings.within_limit(len(with_instances))
        dataset = dataset.part([with_instances[n] for n in kept])
    torch.manual_seed(settings.seed)
    sam = build_sam(settings.segmenter, settings.view_size)
    fabric = build_fabric(settings)  # first, so that all processes read photos at once
    views = PromptedViews(dataset, sam.image_encoder.img_size, settings.views, seed=settings.seed)
    run = open_run(fabric, settings)
    objective = MaskObjective(
        sam,
        views,
        save_sam,
        sam_file_name(settings.segmenter.name),
        val=(val_dataset, settings.val_limit),
        refine=settings.refine,
        candidates=settings.candidates,
        seed=settings.seed,
        weights=settings.loss,
        cache=run.path / "embeddings" if settings.cache_embeddings else None,
        trained_on=_fingerprints(settings, views),
    )
    with run.held(by_this_process=fabric.is_global_zero):
        return fit(fabric, settings, run, objective)


def _fingerprints(settings: FinetuneSettings, views: PromptedViews) -> np.ndarray | None:
    """Those of the photos trained on, and of what the weights that are started from saw."""
    chosen = settings.segmenter
    if chosen.name != "sam_mini":  # official files say nothing, and take long to read again
        return None
    own = np.array([fingerprint(photo) for photo in views.photos.values()], dtype=np.uint64)
    if chosen.from_scratch:
        return own
    start = load_segmenter(chosen.name, checkpoint=chosen.checkpoint)
    return union(own, getattr(start, "trained_on", None))


def sam_file_name(name: str) -> str:
    """Of a trained segmenter's checkpoint: safetensors for sam_mini, else the official format."""
    return f"{name}.safetensors" if name == "sam_mini" else f"{name}.pth"


def build_sam(chosen: TrainedSegmenterSettings, view_size: int | None) -> Sam:
    """The model to train, at the size of the views; what is not trained requires no gradient."""
    sam = _load_sam(chosen, view_size)
    sam.requires_grad_(chosen.trained == "all")
    sam.mask_decoder.requires_grad_(chosen.trained != "none")
    if chosen.trained == "lora":
        add_lora(sam, chosen.lora_rank)
    return sam


def _load_sam(chosen: TrainedSegmenterSettings, view_size: int | None) -> Sam:
    if chosen.name == "sam_mini":
        size = 320 if view_size is None else view_size
        if size < 32 or size % 32:
            raise InputError(f"view_size is {size}; expected a multiple of 32")
        if chosen.from_scratch:
            sam = MINI_VERSIONS[chosen.version](size)
            if chosen.imagenet:
                load_imagenet_encoder(sam)
            return sam
    segmenter = check_plain_sam(
        load_segmenter(chosen.name, checkpoint=chosen.checkpoint),
        "the segmenter is to be trained",
        "expected sam_mini, sam_vit_b, sam_vit_l or sam_vit_h",
    )
    if chosen.name == "sam_mini":
        sam = MINI_VERSIONS[mini_version(segmenter.sam)](size)
        sam.load_state_dict(segmenter.sam.state_dict())
        return sam
    own = segmenter.sam.image_encoder.img_size
    if view_size not in (None, own):
        raise InputError(f"view_size is {view_size}; {chosen.name} takes {own} only: leave it out")
    return segmenter.sam
