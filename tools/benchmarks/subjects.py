"""What is run: models, photos, boxes, datasets of COCO's sizes and counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

import samrot
from samrot.data.coco import CocoDataset, DataSettings
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.tasks.segmentation import SegmentationTask
from samrot.segmenters import Segmenter

PHOTO_HW = (768, 1024)
COCO_HW = (480, 640)
BOXES_PER_PHOTO = 7.3  # of COCO val 2017, where their number is spread like a geometric one


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Args:
        sam: sam_vit_b, sam_vit_l, sam_vit_h with random weights, or the bundled sam_mini.
        photos: in comparisons of whole photos.
        repeats: rounds that count.
        equiadapt: folder that holds that package; None leaves it out.
        data: image folder and annotations of a COCO dataset, where masks must mean something.
        memory_photos: sizes of the evaluations whose peak memory is compared.
    """

    sam: str
    photos: int
    repeats: int
    equiadapt: Path | None
    data: tuple[str, str] | None
    memory_photos: Sequence[int]


def device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build_sam(name: str) -> Sam:
    """The bundled sam_mini, or a SAM of that architecture with random weights."""
    if name == "sam_mini":
        mini = samrot.load_segmenter(name, device=device())
        assert isinstance(mini, samrot.segmenters.SamSegmenter)
        return mini.sam
    torch.manual_seed(0)
    sam: Sam = sam_model_registry[name.removeprefix("sam_")]()
    with torch.no_grad():
        for parameter_name, parameter in sam.named_parameters():
            if "rel_pos" in parameter_name:  # zero at first, and then they would not matter
                parameter.normal_(std=0.05)
    return sam.eval().to(device())


def photo(seed: int = 0, size_hw: tuple[int, int] = PHOTO_HW) -> np.ndarray:
    """Soft noise of a photo's size, (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def boxes_on(size_hw: tuple[int, int], count: int) -> np.ndarray:
    """(count, 4) boxes, XYXY."""
    random = np.random.default_rng(1)
    corners = random.uniform(0, 0.5, (count, 2)) * size_hw[::-1]
    return np.concatenate([corners, corners + random.uniform(20, 300, (count, 2))], axis=1)


def write_coco_like(
    folder: Path, count: int, size_hw: tuple[int, int] = COCO_HW, boxes: int | None = None
) -> CocoDataset:
    """Photos of noise with ellipses for objects, as many and as finely outlined as COCO's."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, count + 1):
        name = f"{image_id:06d}.jpg"
        cv2.imwrite(str(folder / "images" / name), photo(image_id, size_hw))
        images.append(
            {"id": image_id, "file_name": name, "height": size_hw[0], "width": size_hw[1]}
        )
        for _ in range(boxes or random.geometric(1 / BOXES_PER_PHOTO)):
            axes = random.uniform(10, min(size_hw) / 4, 2)
            centre = random.uniform(0.25, 0.75, 2) * size_hw[::-1]
            angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            outline = centre + axes * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(random.integers(1, 81)),
                    "segmentation": [outline.round(2).ravel().tolist()],
                    "area": float(np.pi * axes.prod()),
                    "bbox": [*(centre - axes).tolist(), *(2 * axes).tolist()],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": f"kind {i}"} for i in range(1, 81)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return CocoDataset.load(folder / "images", folder / "annotations.json")


def photo_loop(
    dataset: CocoDataset, segmenter: Segmenter, **settings: Any
) -> Callable[[], list[dict[str, Any]]]:
    """What ``samrot evaluate`` does with photos, scoring aside: returns the records."""
    chosen = EvaluateSettings(
        data=DataSettings(images=str(dataset.image_folder), annotations=dataset.source),
        out="",
        **settings,
    )
    task = SegmentationTask(chosen, dataset, segmenter.device.type, segmenter=segmenter)

    def run() -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        task.run(dataset.image_ids[: chosen.limit], records.append)
        return records

    return run
