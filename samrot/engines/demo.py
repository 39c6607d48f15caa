"""``samrot demo``: the whole job, offline, in a few minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samrot.canonicalizers import load_canonicalizer
from samrot.data.coco import CocoDataset, find_coco
from samrot.data.coco_writer import write_scenes
from samrot.engines.evaluate import (
    CanonicalizerChoice,
    DataSettings,
    EvaluateSettings,
    SegmenterSettings,
    evaluate,
)
from samrot.engines.overlays import draw_comparison
from samrot.predictor import RobustPredictor
from samrot.segmenters import load_segmenter

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
        device: cpu, cuda, ...
    """

    out: str = "runs/demo"
    data: str | None = None
    images: int = 40
    overlays: int = 6
    segmenter: str = "sam_mini"
    canonicalizer: str = "c4"
    device: str = "cpu"


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
