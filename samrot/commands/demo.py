"""``samrot demo``: the whole job, offline, in a few minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samrot.canonicalizers import CanonicalizerChoice, load_canonicalizer
from samrot.data.coco import CocoDataset, DataSettings, find_coco
from samrot.data.coco_writer import write_scenes
from samrot.drawing.overlays import DrawnObject, draw_objects, panel
from samrot.errors import check_range
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.geometry.groups import C4
from samrot.geometry.plane import PlaneTransform, xywh_to_xyxy
from samrot.geometry.pose import Pose
from samrot.geometry.rle import encode_mask
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import SegmenterSettings, load_segmenter
from samrot.structures.prompts import Prompts

SEED = 2310


@dataclass(kw_only=True)
class DemoSettings:
    """Settings of ``samrot demo``.

    Args:
        out: folder for dataset, run and overlays; an interrupted demo continues.
        data: folder of a COCO dataset to use instead of scenes: one .json below it, and photos.
        images: number of scenes, or of photos used.
        overlays: number of pictures drawn.
        segmenter: which segmenter.
        canonicalizer: c4, c4_aspect, or the path of a checkpoint.
        device: where the models run: cpu, cuda, cuda:1, mps, or auto.
    """

    out: str = "runs/demo"
    data: str | None = None
    images: int = 40
    overlays: int = 6
    segmenter: str = "sam_mini"
    canonicalizer: str = "c4"
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_range("images", self.images, 1)
        check_range("overlays", self.overlays, 0)


def demo(settings: DemoSettings) -> tuple[dict[str, Any], Path]:
    """Run the demo.

    Returns:
        The summary of its evaluation, and the folder of the overlays.

    Raises:
        InputError: if the folder given as data holds no COCO dataset.
    """
    out = Path(settings.out)
    if settings.data is None:
        scenes = out / "scenes"
        if not scenes.is_dir():
            write_scenes(scenes, settings.images, SEED)
        images, annotations = scenes / "images", scenes / "annotations.json"
    else:
        images, annotations = find_coco(Path(settings.data))
    summary = evaluate(
        EvaluateSettings(
            data=DataSettings(images=str(images), annotations=str(annotations)),
            out=str(out / "evaluation"),
            segmenter=SegmenterSettings(name=settings.segmenter),
            canonicalizer=CanonicalizerChoice(name=settings.canonicalizer),
            limit=settings.images,
            device=settings.device,
        )
    )
    overlays = out / "overlays"
    overlays.mkdir(exist_ok=True)
    dataset = CocoDataset.load(images, annotations)
    segmenter = load_segmenter(settings.segmenter, device=settings.device)
    plain = RobustPredictor(segmenter, None)
    robust = RobustPredictor(
        segmenter, load_canonicalizer(settings.canonicalizer, device=settings.device)
    )
    for image_id in dataset.image_ids[: settings.overlays]:
        draw_comparison(dataset, image_id, plain, robust, overlays / f"{image_id:012d}.png")
    return summary, overlays


def draw_comparison(
    dataset: CocoDataset,
    image_id: int,
    plain: RobustPredictor,
    robust: RobustPredictor,
    path: Path,
) -> None:
    """One photo at four angles: above the plain predictor's masks, below the robust one's.

    Both get the ground-truth boxes, turned with the photo.
    """
    upright = dataset.read(image_id)
    boxes = xywh_to_xyxy([instance["bbox"] for instance in dataset.instances(image_id)])
    columns = []
    for turns in range(C4.order):
        transform = PlaneTransform.from_pose(Pose(turns), dataset.size_hw(image_id))
        turned, turned_boxes = transform.image(upright), transform.boxes(boxes)
        panels = []
        for name, predictor in (("plain", plain), ("robust", robust)):
            predictor.set_image(turned)
            objects = []
            if len(boxes):
                result = predictor.predict_prompts(Prompts(boxes_xyxy=turned_boxes))
                masks = result.masks[:, 0].cpu().numpy()
                objects = [DrawnObject(encode_mask(mask)) for mask in masks]
            label = f"{name}, {C4.names[turns]} deg"
            if predictor.canonicalizer is not None:
                label += f", pose {C4.names[predictor.pose]}"
            panels.append(panel([draw_objects(turned, objects)], label))
        columns.append(np.concatenate(panels, axis=0))
    Image.fromarray(np.concatenate(columns, axis=1)).save(path)
