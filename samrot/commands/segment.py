"""``samrot segment``: masks for photos in files and folders, however they are turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from samrot.canonicalizers import CanonicalizerChoice, load_canonicalizer
from samrot.commands.segment_results import (
    remove_result,
    result_folders,
    write_dataset,
    write_result,
)
from samrot.data.images import exif_orientation, read_image
from samrot.data.photos import name_photos
from samrot.data.prompt_files import prompts_from_numbers, read_prompts
from samrot.drawing.overlays import DrawnObject
from samrot.errors import InputError, check_choice, check_range
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, exif_element
from samrot.geometry.rle import encode_mask
from samrot.robust.mask_generator import RobustMaskGenerator
from samrot.robust.predictor import RobustPredictor
from samrot.runtime.locks import alone_in
from samrot.segmenters import SamSegmenter, SegmenterSettings
from samrot.structures.prompts import Prompts, check_prompts

DEMO_SEGMENTER = "sam_mini"
FRAMES = ("displayed", "stored", "upright")


@dataclass(kw_only=True)
class EverythingSettings:
    """What is kept of a grid of clicks.

    Args:
        points_per_side: number of points a side of the grid.
        pred_iou_thresh: least predicted IoU that is kept, 0..1; that of the segmenter by default.
        stability_score_thresh: least stability under another cutoff that is kept, 0..1; that of the
            segmenter by default.
        min_mask_region_area: smaller islands and holes are removed, pixels.
    """

    points_per_side: int = 32
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        check_range("grid.points_per_side", self.points_per_side, 1, 1024)
        check_range("grid.min_mask_region_area", self.min_mask_region_area, 0)
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            if getattr(self, name) is not None:
                check_range(f"grid.{name}", getattr(self, name), 0, 1)

    def chosen(self) -> dict[str, Any]:
        """Arguments of the mask generator."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(kw_only=True)
class SegmentSettings:
    """Settings of ``samrot segment``.

    Args:
        images: files, folders (searched with their subfolders) and patterns.
        box: x0 y0 x1 y1 of an object in every photo, pixels of the photo as it is displayed; four
            more, or the option again, for each further object.
        point: x y of a click on one more object, pixels as of box; further clicks add up.
        label: label of each click: 1 in the object (all, if left out), 0 outside.
        prompts: CSV or JSON file of boxes and points by file name, instead of box and point.
        everything: segment all that is in the photo, from a grid of clicks, without prompts.
        grid: the grid of clicks of everything, and what is kept of it.
        out: folder; each photo gets one in it (mask_000.png and so on, masks.json, overlay.png),
            and all of them are in its annotations.json (COCO) and index.json.
        segmenter: which segmenter, and how prompts are decoded.
        canonicalizer: which canonicalizer.
        frame: frame in which masks are written: displayed (EXIF orientation applied, as viewers
            show the photo), stored, or upright, as the canonicalizer has it; prompts are always in
            the displayed one.
        min_confidence: probability of its pose below which a photo is named as uncertain.
        device: where the models run: cpu, cuda, cuda:1, mps, or auto.
    """

    images: list[str]
    out: str
    box: list[float] = field(default_factory=list)
    point: list[float] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    prompts: str | None = None
    everything: bool = False
    grid: EverythingSettings = field(default_factory=EverythingSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    frame: str = "displayed"
    min_confidence: float = 0.5
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("frame", self.frame, FRAMES)
        check_range("min_confidence", self.min_confidence, 0, 1)
        given = {
            "box or point": bool(self.box or self.point or self.label),
            "prompts": self.prompts is not None,
            "everything": self.everything,
        }
        if sum(given.values()) != 1:
            named = ", ".join(name for name, there in given.items() if there) or "nothing"
            raise InputError(
                f"{named} says what to segment; expected exactly one of --box X0 Y0 X1 Y1 (and "
                "--point X Y), --prompts FILE, --everything"
            )
        if self.everything and (self.segmenter.multimask or self.segmenter.refine):
            raise InputError(
                "segmenter.multimask and refine are for prompts, but everything is segmented; "
                "leave them out"
            )


@dataclass(frozen=True)
class SegmentReport:
    """What became of the photos, by the path of each.

    Args:
        num_objects: number of objects found.
        failed: why a photo failed.
        unprompted: photos that the prompts do not name.
        uncertain: confidence of the poses that are less sure than asked for.
    """

    num_objects: int
    failed: dict[str, str]
    unprompted: list[str]
    uncertain: dict[str, float]


def segment(settings: SegmentSettings) -> SegmentReport:
    """Segment photos; those that cannot be read or prompted are passed over.

    Raises:
        InputError: if the settings are off, before any photo is looked at.
    """
    out = Path(settings.out)
    photos = name_photos(settings.images, out)
    prompts = _prompts_by_photo(settings, photos)
    segmenter = settings.segmenter.load(settings.device)
    canonicalizer = load_canonicalizer(settings.canonicalizer.name, device=settings.device)
    predictor = RobustPredictor(segmenter, canonicalizer)
    generator = None
    if settings.everything:
        if not isinstance(segmenter, SamSegmenter):
            raise InputError(f"everything needs a segment_anything model, not {segmenter.name}")
        generator = RobustMaskGenerator(
            segmenter, canonicalizer=canonicalizer, **settings.grid.chosen()
        )
    num_objects, failed, uncertain = 0, {}, {}
    unprompted = [name for name in photos if generator is None and not prompts.get(name)]
    folders = result_folders(name for name in photos if name not in unprompted)
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        for name in tqdm(folders, desc="segment", unit="image"):
            folder, path = out / folders[name], photos[name]
            remove_result(folder)
            try:
                image = read_image(path)
                if generator is None:
                    predictor.set_image(image)
                    pose = predictor.current_pose
                    objects = _prompted(predictor, prompts[name], settings.segmenter)
                else:
                    pose = canonicalizer.estimate(image)
                    objects = _everything(generator, image, pose)
                size_hw = (image.shape[0], image.shape[1])
                upright = PlaneTransform.to_canonical(Pose(pose.element), size_hw)
                frames = {
                    "displayed": PlaneTransform.from_pose(Pose(), size_hw),
                    "stored": PlaneTransform.from_pose(
                        Pose(exif_element(exif_orientation(path))), size_hw
                    ),
                    "upright": upright,
                }
                about = {
                    "image": str(path),
                    "frame": settings.frame,
                    "pose": pose.element,
                    "pose_probabilities": np.asarray(pose.probabilities).tolist(),
                    "pose_confidence": pose.confidence,
                    "pose_uncertain": pose.confidence < settings.min_confidence,
                    "segmenter": segmenter.name,
                }
                write_result(folder, image, objects, about, frames[settings.frame], upright)
                num_objects += len(objects)
                if about["pose_uncertain"]:
                    uncertain[str(path)] = pose.confidence
            except InputError as error:
                failed[str(path)] = str(error)
        done = {name: folders[name] for name in folders if str(photos[name]) not in failed}
        write_dataset(out, done, failed)
    return SegmentReport(num_objects, failed, [str(photos[n]) for n in unprompted], uncertain)


def _everything(generator: RobustMaskGenerator, image: np.ndarray, pose: Pose) -> list[DrawnObject]:
    return [
        DrawnObject(encode_mask(record["segmentation"]), record["predicted_iou"])
        for record in generator.generate(image, pose=pose)
    ]


def remarks(report: SegmentReport, settings: SegmentSettings) -> list[str]:
    """What a person should know of a run, a line each."""
    lines = [f"failed: {path}: {reason}" for path, reason in report.failed.items()]
    if report.unprompted:
        lines.append(
            f"{len(report.unprompted)} photos have no prompts in {settings.prompts}, and were left "
            f"out: {_some(report.unprompted)}"
        )
    if report.uncertain:
        shown = [f"{path} ({value:.2f})" for path, value in report.uncertain.items()]
        lines.append(
            f"{len(shown)} poses are uncertain, with a probability below "
            f"{settings.min_confidence:g}: {_some(shown)}; look at their overlays"
        )
    if settings.segmenter.name == DEMO_SEGMENTER and settings.segmenter.checkpoint is None:
        lines.append(
            f"{DEMO_SEGMENTER} is a small model for demonstration; --segmenter.name sam_vit_h, for "
            "one, makes better masks"
        )
    return lines


def _some(names: Sequence[str], count: int = 5) -> str:
    """The first of some names, and how many more there are."""
    rest = [f"and {len(names) - count} more"] if len(names) > count else []
    return ", ".join([*names[:count], *rest])


def _prompts_by_photo(
    settings: SegmentSettings, photos: dict[str, Path]
) -> dict[str, list[Prompts]]:
    if settings.prompts is None:
        shared = prompts_from_numbers(settings.box, settings.point, settings.label)
        return dict.fromkeys(photos, shared)
    listed = read_prompts(settings.prompts)
    unknown = sorted(set(listed) - set(photos))
    if unknown:
        raise InputError(
            f"prompts {settings.prompts} names {unknown[0]}, which is not among the images; "
            f"expected names such as {next(iter(photos))}"
        )
    return listed


def _prompted(
    predictor: RobustPredictor, prompts: Sequence[Prompts], settings: SegmenterSettings
) -> list[DrawnObject]:
    objects = []
    for prompt in prompts:
        check_prompts(prompt, predictor.original_size)
        best = predictor.best_masks(prompt, multimask=settings.multimask, refine=settings.refine)
        rle = encode_mask(best.masks[0, 0].cpu().numpy())
        objects.append(DrawnObject(rle, float(best.scores[0, 0]), prompt))
    return objects
