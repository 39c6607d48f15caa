"""``samrot train``: fit a canonicalizer, on upright photos alone or through a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from samrot.canonicalizers import (
    Canonicalizer,
    build_canonicalizer,
    load_canonicalizer,
    load_imagenet_weights,
    save_canonicalizer,
)
from samrot.data.coco import CocoDataset
from samrot.data.images import list_images
from samrot.data.pose_photos import PoseAugmentation, PosePhotos
from samrot.data.pose_prior import estimate_prior
from samrot.data.prompted_views import PromptedViews, ViewSettings
from samrot.engines.finetune import SamSettings, build_sam, sam_file_name
from samrot.engines.fit import FitSettings, build_fabric, fit
from samrot.engines.pose_tasks import PoseTask, ThroughSamTask, Weights
from samrot.engines.run_folder import RunFolder
from samrot.errors import InputError, MissingFileError
from samrot.segmenters import save_sam
from samrot.weights import load_into


@dataclass(kw_only=True)
class PhotoSettings:
    """Upright photos.

    Args:
        images: folders of photos, searched with their subfolders.
        annotations: COCO JSON that lists the photos of the (one) folder to use.
        include: text file of photos, the ends of their paths, one a line: only these are used.
        exclude: text file of the same kind: these are left out.
    """

    images: list[str] = field(default_factory=list)
    annotations: str | None = None
    include: str | None = None
    exclude: str | None = None


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
class TaskLossSettings:
    """The segmenter's own loss, through the pose (straight-through).

    Args:
        weight: of the loss; 0 leaves the segmenter out.
        segmenter: which; ``trained`` says what of it learns along, ``none`` keeps it frozen.
        view_size: as in ``samrot finetune``.
        views: as in ``samrot finetune``.
    """

    weight: float = 0.0
    segmenter: SamSettings = field(default_factory=lambda: SamSettings(trained="none"))
    view_size: int | None = None
    views: ViewSettings = field(default_factory=lambda: ViewSettings(scene_share=0.0))


@dataclass(kw_only=True)
class TrainSettings(FitSettings):
    """Settings of ``samrot train``, besides those of every training.

    Args:
        data: photos to train on.
        limit: of the number of photos trained on, evenly spaced; for a learning curve.
        val: photos to measure pose accuracy on; may be empty.
        val_limit: of the number of photos measured.
        canonicalizer: what is trained.
        prior: probability of each pose in the photos that the segmenter was trained on; or exif, to
            count the orientation tags of the training photos; or a JSON file that maps file names
            to quarter turns, to count those. Only with the first are EXIF tags applied on reading.
        beta: weight of the prior loss; 0 learns a pose without prior, which needs a task loss.
        contrastive: weight of the loss that keeps the turns of a photo apart (orbit_* only).
        task: loss through a segmenter; needs data with instance masks.
        augmentation: random views of the photos.
        cutmix: probability that a photo is lent a rectangle of another.
        init: checkpoint to start from, of the same architecture, or the name of a bundled one; or
            imagenet, for orbit_lite0.
        cache: keep decoded photos in memory.
    """

    data: PhotoSettings = field(default_factory=PhotoSettings)
    limit: int | None = None
    val: PhotoSettings = field(default_factory=PhotoSettings)
    val_limit: int = 500
    canonicalizer: CanonicalizerSettings = field(default_factory=CanonicalizerSettings)
    prior: list[float] | str = field(default_factory=lambda: [1.0, 0.0, 0.0, 0.0])
    beta: float = 1.0
    contrastive: float = 0.0
    task: TaskLossSettings = field(default_factory=TaskLossSettings)
    augmentation: PoseAugmentation = field(default_factory=PoseAugmentation)
    cutmix: float = 0.3
    init: str | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        for name, weight in (
            ("beta", self.beta),
            ("contrastive", self.contrastive),
            ("task.weight", self.task.weight),
        ):
            if not 0 <= weight < float("inf"):
                raise InputError(f"{name} is {weight}; expected a number of at least 0")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}; expected a positive number of photos")
        if self.limit is not None and self.task.weight:
            raise InputError(
                "limit is set with a task loss, which takes its photos from data.annotations; "
                "shorten that file instead"
            )
        if not self.beta and not self.task.weight:
            raise InputError(
                "beta and task.weight are both 0, so nothing says which way is up; set one of them"
            )
        architecture = self.canonicalizer.architecture
        if self.contrastive and not architecture.startswith("orbit_"):
            raise InputError(
                f"contrastive is {self.contrastive} for {architecture!r}, whose turns are apart by "
                "construction; set it to 0, or choose the architecture orbit_cnn or orbit_lite0"
            )


def train(settings: TrainSettings) -> Path:
    """Train a canonicalizer; the same settings and folder continue an interrupted run.

    Returns:
        Path of the checkpoint, ``canonicalizer.safetensors`` in the run folder.

    Raises:
        InputError: if settings or data are unusable.
    """
    paths, apply_exif = find_photos(settings.data)
    if settings.limit is not None and settings.limit < len(paths):
        paths = [paths[n * len(paths) // settings.limit] for n in range(settings.limit)]
    prior = settings.prior
    if isinstance(prior, str):
        prior, apply_exif = estimate_prior(paths, prior), None
    if settings.cutmix > 0 and max(prior) < 1.0:
        raise InputError(
            f"cutmix is {settings.cutmix} with prior {prior}; mixing photos needs that all of them "
            "are turned alike: set cutmix to 0"
        )
    val_paths, val_apply_exif = find_photos(settings.val) if settings.val.images else ([], None)
    torch.manual_seed(settings.seed)
    canonicalizer = _build(settings)
    chosen = settings.canonicalizer
    common: dict[str, Any] = {
        "prior": prior,
        "weights": Weights(settings.beta, settings.contrastive, settings.task.weight),
        "val": (val_paths[: settings.val_limit], val_apply_exif),
    }
    save = partial(save_canonicalizer, architecture=chosen.architecture, options=chosen.options)
    fabric = build_fabric(settings)  # first, so that all processes read photos at once
    task: PoseTask
    if settings.task.weight:
        task = _through_sam(settings, canonicalizer, save, common)
    else:
        photos = PosePhotos(
            paths,
            canonicalizer.thumbnail,
            settings.augmentation,
            cutmix=settings.cutmix,
            cache=settings.cache,
            apply_exif=apply_exif,
            seed=settings.seed,
        )
        task = PoseTask(canonicalizer, photos, save, **common)
    with fabric.rank_zero_first():
        run = RunFolder.open(settings.out, settings)
    return fit(fabric, settings, run, task)


def _through_sam(
    settings: TrainSettings, canonicalizer: Canonicalizer, save: Any, common: dict[str, Any]
) -> ThroughSamTask:
    chosen = settings.task
    if settings.data.annotations is None:
        raise InputError(
            "task.weight is set, but data.annotations is not; expected the COCO JSON with the "
            "instance masks of the photos"
        )
    sam = build_sam(chosen.segmenter, chosen.view_size)
    dataset = CocoDataset.load(settings.data.images[0], settings.data.annotations)
    size = sam.image_encoder.img_size
    views = PromptedViews(dataset, size, chosen.views, seed=settings.seed)
    file_name = sam_file_name(chosen.segmenter.name)
    return ThroughSamTask(canonicalizer, views, save, sam, save_sam, file_name, **common)


def find_photos(source: PhotoSettings) -> tuple[list[Path], bool | None]:
    """The photo files of a source, and whether EXIF applies to them (not under COCO JSON)."""
    paths, apply_exif = _find_all_photos(source)
    if source.include is not None:
        paths = [path for path in paths if _is_listed(path, read_list(source.include))]
    if source.exclude is not None:
        paths = [path for path in paths if not _is_listed(path, read_list(source.exclude))]
    if not paths:
        raise InputError(
            f"include {source.include} and exclude {source.exclude} leave no photo of "
            f"{', '.join(source.images)}; expected the ends of paths, one a line"
        )
    return paths, apply_exif


@lru_cache
def read_list(path: str) -> frozenset[str]:
    """The lines of a text file that are not empty."""
    if not Path(path).is_file():
        raise MissingFileError(f"list {path} does not exist; expected a text file of paths")
    return frozenset(line.strip() for line in Path(path).read_text().splitlines() if line.strip())


def _is_listed(path: Path, ends: frozenset[str]) -> bool:
    parts = path.parts
    return any("/".join(parts[start:]) in ends for start in range(len(parts)))


def _find_all_photos(source: PhotoSettings) -> tuple[list[Path], bool | None]:
    if not source.images:
        raise InputError("data.images is empty; expected a folder of upright photos")
    if source.annotations is None:
        return [path for folder in source.images for path in list_images(folder)], True
    if len(source.images) != 1:
        raise InputError(
            f"data.annotations with {len(source.images)} image folders; expected one folder"
        )
    dataset = CocoDataset.load(source.images[0], source.annotations)
    return [dataset.image_path(image_id) for image_id in dataset.image_ids], False


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
