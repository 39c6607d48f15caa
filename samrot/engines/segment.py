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

from samrot.canonicalizers import load_canonicalizer
from samrot.data.images import exif_orientation, list_images, read_image, to_stored_frame
from samrot.data.object_prompts import ObjectPrompt, prompts_from_numbers, read_prompts
from samrot.engines.evaluate import CanonicalizerChoice
from samrot.engines.overlays import draw_masks
from samrot.errors import InputError, MissingFileError, check_choice
from samrot.files import replacing
from samrot.mask_generator import RobustMaskGenerator
from samrot.predictor import RobustPredictor
from samrot.scoring import encode_mask
from samrot.segmenters import EncoderSettings, SamSegmenter, load_segmenter

FRAMES = ("displayed", "stored")


@dataclass(kw_only=True)
class SegmenterChoice:
    """Which segmenter.

    Args:
        name: sam_mini, sam_vit_b, sam_vit_l, sam_vit_h, transformers, grabcut or box.
        checkpoint: weight file, folder or hub id; None for the bundled or official one.
        encoder: of a segment_anything model, faster.
    """

    name: str = "sam_mini"
    checkpoint: str | None = None
    encoder: EncoderSettings = field(default_factory=EncoderSettings)


@dataclass(kw_only=True)
class EverythingSettings:
    """What is kept of a grid of clicks; the thresholds are segment-anything's, made for ViT-H.

    Args:
        points_per_side: of the grid.
        pred_iou_thresh: least predicted IoU.
        stability_score_thresh: least stability under another cutoff.
        min_mask_region_area: smaller islands and holes are removed, pixels.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    min_mask_region_area: int = 0


@dataclass(kw_only=True)
class SegmentSettings:
    """Settings of ``samrot segment``.

    Args:
        images: files, folders (searched with their subfolders) and patterns.
        box: x0 y0 x1 y1 of each object, in every photo, pixels of the photo as it is displayed.
        point: x y of each click on one more object.
        label: of each click: 1 in the object (all, if left out), 0 outside.
        prompts: CSV or JSON file of boxes and points by file name, instead.
        everything: no prompts: segment all that is in the photo, from a grid of clicks.
        grid: of those clicks.
        out: folder; each photo gets one in it: mask_000.png and so on, masks.json, overlay.png.
        segmenter: which segmenter.
        canonicalizer: which canonicalizer.
        multimask: decode three masks and keep the one of the highest predicted IoU.
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
    segmenter: SegmenterChoice = field(default_factory=SegmenterChoice)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    multimask: bool = False
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
                "--point X Y), --prompts FILE, --everything true"
            )


@dataclass(frozen=True)
class FoundObject:
    """One object of one photo, in the displayed frame.

    Args:
        mask: (H, W) bool.
        score: predicted IoU.
        prompt: what pointed at it; None where nothing did.
    """

    mask: np.ndarray
    score: float
    prompt: ObjectPrompt | None


def segment(settings: SegmentSettings) -> tuple[int, dict[str, str]]:
    """Segment photos; those that cannot be read or prompted are passed over.

    Returns:
        Number of objects found, and why a photo failed, by path.

    Raises:
        InputError: if the settings are off, before any photo is looked at.
    """
    photos = find_photos(settings.images)
    prompts = _prompts_by_photo(settings, photos)
    segmenter = load_segmenter(
        settings.segmenter.name,
        checkpoint=settings.segmenter.checkpoint,
        device=settings.device,
        encoder=settings.segmenter.encoder,
    )
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
    for name, path in tqdm(photos.items(), desc="segment", unit="image"):
        try:
            image = read_image(path)
            predictor.set_image(image)
            if generator is None:
                objects = _prompted(predictor, prompts.get(name, []), settings.multimask)
            else:
                objects = [
                    FoundObject(record["segmentation"], record["predicted_iou"], None)
                    for record in generator.generate(image)
                ]
            _write(Path(settings.out) / name, path, image, objects, predictor, settings.frame)
            num_objects += len(objects)
        except InputError as error:
            failed[str(path)] = str(error)
    return num_objects, failed


def find_photos(sources: Sequence[str]) -> dict[str, Path]:
    """Image files by the names of their results: relative to the folder that was named.

    Raises:
        MissingFileError: if a file, folder or pattern matches nothing.
        InputError: if two photos would get the same name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if Path(source).is_dir():
            named = [(str(path.relative_to(source)), path) for path in list_images(source)]
        else:
            matches = [source]
            if not Path(source).is_file():
                matches = glob(source, recursive=True)  # noqa: PTH207 - patterns may be absolute
            files = [Path(match) for match in sorted(matches) if Path(match).is_file()]
            named = [(path.name, path) for path in files]
        if not named:
            raise MissingFileError(f"images {source} does not exist; expected a file or folder")
        for name, path in named:
            if found.setdefault(name, path).resolve() != path.resolve():
                raise InputError(
                    f"images {found[name]} and {path} would both be written to {name}; name the "
                    "folder above them instead"
                )
    return found


def _prompts_by_photo(
    settings: SegmentSettings, photos: dict[str, Path]
) -> dict[str, list[ObjectPrompt]]:
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
    predictor: RobustPredictor, prompts: Sequence[ObjectPrompt], multimask: bool
) -> list[FoundObject]:
    if not prompts:
        raise InputError("no prompt points at anything in it; add it to the prompts file")
    found = []
    for prompt in prompts:
        masks, scores, _ = predictor.predict(
            point_coords=np.array(prompt.points) if prompt.points else None,
            point_labels=np.array(prompt.labels) if prompt.points else None,
            box=None if prompt.box is None else np.array(prompt.box),
            multimask_output=multimask,
        )
        best = int(scores.argmax())
        found.append(FoundObject(masks[best], float(scores[best]), prompt))
    return found


def _write(
    folder: Path,
    path: Path,
    image: np.ndarray,
    objects: Sequence[FoundObject],
    predictor: RobustPredictor,
    frame: str,
) -> None:
    """Masks, their JSON, and a picture; the JSON last, so that it says that all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("mask_*.png"):
        earlier.unlink()
    orientation = exif_orientation(path) if frame == "stored" else 1
    records = []
    for number, found in enumerate(objects):
        mask = to_stored_frame(found.mask, orientation)
        rle = encode_mask(mask)
        file_name = f"mask_{number:03d}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / file_name)
        records.append(
            {
                "file": file_name,
                "score": found.score,
                "area": int(mask.sum()),
                "bbox": coco_mask.toBbox(rle).tolist(),
                "segmentation": rle,
                "prompt": None if found.prompt is None else vars(found.prompt),
            }
        )
    masks = np.array([found.mask for found in objects]).reshape(-1, *image.shape[:2])
    Image.fromarray(draw_masks(image, masks)).save(folder / "overlay.png")
    content: dict[str, Any] = {
        "image": str(path),
        "frame": frame,
        "pose": predictor.pose,
        "pose_probabilities": predictor.pose_probabilities.tolist(),
        "segmenter": predictor.segmenter.name,
        "objects": records,
    }
    with replacing(folder / "masks.json") as partial:
        partial.write_text(json.dumps(content))
