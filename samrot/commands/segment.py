"""``samrot segment``: masks for photos in files and folders, however they are turned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from samrot.canonicalizers import CanonicalizerChoice, load_canonicalizer
from samrot.data.images import exif_orientation, list_images, read_image
from samrot.data.photos import without_results
from samrot.data.prompt_files import describe_prompt, prompts_from_numbers, read_prompts
from samrot.drawing.overlays import draw_masks
from samrot.errors import InputError, MissingFileError, check_choice, check_range
from samrot.files import replacing
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, exif_element
from samrot.geometry.rle import encode_mask
from samrot.robust.mask_generator import RobustMaskGenerator
from samrot.robust.predictor import RobustPredictor
from samrot.runtime.locks import alone_in
from samrot.segmenters import SamSegmenter, SegmenterSettings
from samrot.structures.prompts import Prompts, check_prompts

FRAMES = ("displayed", "stored")


@dataclass(kw_only=True)
class EverythingSettings:
    """What is kept of a grid of clicks; the thresholds are segment-anything's, made for ViT-H.

    Args:
        points_per_side: number of points a side of the grid.
        pred_iou_thresh: least predicted IoU.
        stability_score_thresh: least stability under another cutoff.
        min_mask_region_area: smaller islands and holes are removed, pixels.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        check_range("grid.points_per_side", self.points_per_side, 1, 1024)
        check_range("grid.pred_iou_thresh", self.pred_iou_thresh, 0, 1)
        check_range("grid.stability_score_thresh", self.stability_score_thresh, 0, 1)
        check_range("grid.min_mask_region_area", self.min_mask_region_area, 0)


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
        grid: grid of those clicks.
        out: folder; each photo gets one in it: mask_000.png and so on, masks.json, overlay.png.
        segmenter: which segmenter, and how it is asked.
        canonicalizer: which canonicalizer.
        frame: displayed (EXIF orientation applied, as viewers show the photo) or stored, in which
            the masks are written; prompts are always in the displayed one.
        device: cpu, cuda, ...
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
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("frame", self.frame, FRAMES)
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
class SegmentedObject:
    """One object of one photo, in the displayed frame.

    Args:
        mask: (H, W) bool.
        score: predicted IoU.
        prompt: what pointed at it, B = 1; None where nothing did.
    """

    mask: np.ndarray
    score: float
    prompt: Prompts | None


def segment(settings: SegmentSettings) -> tuple[int, dict[str, str]]:
    """Segment photos; those that cannot be read or prompted are passed over.

    Returns:
        Number of objects found, and why a photo failed, by path.

    Raises:
        InputError: if the settings are off, before any photo is looked at.
    """
    out = Path(settings.out)
    photos = find_photos(settings.images, out)
    prompts = _prompts_by_photo(settings, photos)
    segmenter = settings.segmenter.load(settings.device)
    canonicalizer = load_canonicalizer(settings.canonicalizer.name, device=settings.device)
    predictor = RobustPredictor(segmenter, canonicalizer)
    generator = None
    if settings.everything:
        if not isinstance(segmenter, SamSegmenter):
            raise InputError(f"everything needs a segment_anything model, not {segmenter.name}")
        generator = RobustMaskGenerator(
            segmenter, canonicalizer=canonicalizer, **vars(settings.grid)
        )
    num_objects, failed = 0, {}
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        for name, path in tqdm(photos.items(), desc="segment", unit="image"):
            _forget(out / name)
            try:
                image = read_image(path)
                if generator is None:
                    predictor.set_image(image)
                    pose = predictor.current_pose
                    objects = _prompted(predictor, prompts.get(name, []), settings.segmenter)
                else:
                    pose = canonicalizer.estimate(image)
                    objects = _everything(generator, image, pose)
                about = {
                    "image": str(path),
                    "frame": settings.frame,
                    "pose": pose.element,
                    "pose_probabilities": np.asarray(pose.probabilities).tolist(),
                    "segmenter": segmenter.name,
                }
                stored = Pose(exif_element(exif_orientation(path)))
                frame = stored if settings.frame == "stored" else Pose()
                _write(out / name, image, objects, about, frame)
                num_objects += len(objects)
            except InputError as error:
                failed[str(path)] = str(error)
    return num_objects, failed


def _everything(
    generator: RobustMaskGenerator, image: np.ndarray, pose: Pose
) -> list[SegmentedObject]:
    return [
        SegmentedObject(record["segmentation"], record["predicted_iou"], None)
        for record in generator.generate(image, pose=pose)
    ]


def find_photos(sources: Sequence[str], out: Path) -> dict[str, Path]:
    """Image files by the names of their results: relative to the folder that was named.

    Args:
        sources: files, folders and patterns.
        out: folder of the results.

    Raises:
        MissingFileError: if a file, folder or pattern matches nothing.
        InputError: if two photos would get the same name.
    """
    photos: dict[str, Path] = {}
    for source in sources:
        if Path(source).is_dir():
            folder, results = Path(source).resolve(), out.resolve()
            if folder == results:
                raise InputError(
                    f"out is {out}, the folder of the photos; choose another, or one in it"
                )
            paths = without_results(list_images(source), results)
            named = [(str(path.relative_to(source)), path) for path in paths]
        else:
            matches = [source]
            if not Path(source).is_file():
                matches = glob(source, recursive=True)  # noqa: PTH207 - patterns may be absolute
            files = [Path(match) for match in sorted(matches) if Path(match).is_file()]
            named = [(path.name, path) for path in files]
        if not named:
            raise MissingFileError(f"images {source} does not exist; expected a file or folder")
        for name, path in named:
            if photos.setdefault(name, path).resolve() != path.resolve():
                raise InputError(
                    f"images {photos[name]} and {path} would both be written to {name}; name the "
                    "folder above them instead"
                )
    return photos


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
) -> list[SegmentedObject]:
    if not prompts:
        raise InputError("no prompt points at anything in it; add it to the prompts file")
    objects = []
    for prompt in prompts:
        check_prompts(prompt, predictor.original_size)
        best = predictor.best_masks(prompt, multimask=settings.multimask, refine=settings.refine)
        mask, score = best.masks[0, 0].cpu().numpy(), float(best.scores[0, 0])
        objects.append(SegmentedObject(mask, score, prompt))
    return objects


def _forget(folder: Path) -> None:
    """Remove an earlier result; its JSON first, which says that all is there."""
    for path in (folder / "masks.json", folder / "overlay.png", *folder.glob("mask_*.png")):
        path.unlink(missing_ok=True)


def _write(
    folder: Path,
    image: np.ndarray,
    objects: Sequence[SegmentedObject],
    about: dict[str, Any],
    frame: Pose,
) -> None:
    """Masks, a picture, and the JSON, last: where it is, all is there.

    Args:
        folder: folder of the photo's results.
        image, objects: photo and objects as displayed.
        about: the photo, in the JSON.
        frame: how the photo of the masks is moved from the displayed one.
    """
    transform = PlaneTransform.from_pose(frame, (image.shape[0], image.shape[1]))
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, item in enumerate(objects):
        mask = transform.masks(item.mask)
        rle = encode_mask(mask)
        file_name = f"mask_{number:03d}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / file_name)
        records.append(
            {
                "file": file_name,
                "score": item.score,
                "area": int(mask.sum()),
                "bbox": coco_mask.toBbox(rle).tolist(),
                "segmentation": rle,
                "prompt": None if item.prompt is None else describe_prompt(item.prompt),
            }
        )
    masks = np.array([item.mask for item in objects]).reshape(-1, *image.shape[:2])
    Image.fromarray(draw_masks(image, masks)).save(folder / "overlay.png")
    with replacing(folder / "masks.json") as partial:
        partial.write_text(json.dumps({**about, "objects": records}, allow_nan=False))
