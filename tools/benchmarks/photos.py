"""Whole photos with their boxes, and how their cost grows."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from segment_anything import SamPredictor

import samrot
from benchmarks.racing import Timings, race
from benchmarks.subjects import (
    PHOTO_HW,
    Options,
    boxes_on,
    build_sam,
    device,
    photo,
    photo_loop,
    write_coco_like,
)
from samrot.data.coco import CocoDataset
from samrot.evaluation.photo import STAGES
from samrot.geometry import exact
from samrot.geometry.plane import xywh_to_xyxy
from samrot.runtime.devices import is_fast_in_bfloat16
from samrot.segmenters import EncoderSettings, Prompts, SamSegmenter


def compare_predictor(options: Options) -> Timings:
    """``set_image`` of SamPredictor and of RobustPredictor."""
    sam, image = build_sam(options.sam), photo()
    plain, robust = SamPredictor(sam), samrot.RobustPredictor(sam)
    return race(
        {
            "SamPredictor.set_image": lambda: plain.set_image(image),
            "RobustPredictor.set_image": lambda: robust.set_image(image),
        },
        options.repeats,
    )


def compare_evaluation(options: Options) -> Timings:
    """Photos with their boxes, from files to masks; for samrot to RLE and IoU."""
    sam = build_sam(options.sam)
    with TemporaryDirectory() as folder:
        dataset = write_coco_like(Path(folder) / "data", options.photos)
        plain, ours = SamPredictor(sam), SamSegmenter(sam)

        def loop(turns: range) -> None:
            for image_id in dataset.image_ids:
                _plain_turns(plain, dataset, image_id, turns)

        def averaged() -> None:
            for image_id in dataset.image_ids:
                logits = _plain_turns(plain, dataset, image_id, range(4))
                np.mean([exact.move_masks(part, (-k) % 4) for k, part in enumerate(logits)], axis=0)

        contestants = {
            "SamPredictor, upright": lambda: loop(range(1)),
            "SamPredictor, four turns": lambda: loop(range(4)),
            "test-time augmentation over C4": averaged,
            "samrot none, four angles": photo_loop(dataset, ours, methods=["none"]),
            "samrot canonical, four angles": photo_loop(dataset, ours, methods=["canonical"]),
        }
        if options.sam != "sam_mini":
            faster = {"the same, sdpa": "float32"}
            if is_fast_in_bfloat16(device()):
                faster["the same, sdpa and bfloat16"] = "bfloat16"
            for name, dtype in faster.items():
                quick = SamSegmenter(sam, encoder=EncoderSettings(attention="sdpa", dtype=dtype))
                contestants[name] = photo_loop(dataset, quick, methods=["canonical"])
        return race(contestants, options.repeats)


def _plain_turns(
    plain: SamPredictor, dataset: CocoDataset, image_id: int, turns: range
) -> list[np.ndarray]:
    upright = dataset.read(image_id)
    upright_boxes = xywh_to_xyxy([instance["bbox"] for instance in dataset.instances(image_id)])
    found = []
    for k in turns:
        image = exact.move_image(upright, k)
        boxes = exact.move_boxes(upright_boxes, k, dataset.size_hw(image_id))
        plain.set_image(image)
        resized = torch.as_tensor(plain.transform.apply_boxes(boxes, image.shape[:2]))
        logits, _, _ = plain.predict_torch(
            None, None, resized.float().to(plain.device), multimask_output=False, return_logits=True
        )
        found.append(logits.cpu().numpy())
    return found


def compare_stages(options: Options) -> Timings:
    """Where the time of ``canonical`` at four angles goes; ratios are shares of the whole."""
    with TemporaryDirectory() as folder:
        dataset = write_coco_like(Path(folder) / "data", options.photos)
        run = photo_loop(dataset, SamSegmenter(build_sam(options.sam)), methods=["canonical"])
        run()
        timings: Timings = {}
        for _ in range(options.repeats):
            start = time.perf_counter()
            records = run()
            seconds = {"the whole": time.perf_counter() - start}
            for stage in STAGES:
                seconds[stage] = sum(record["seconds"][stage] for record in records)
            models = seconds["encode"] + seconds["decode"]
            seconds["all but encode and decode"] = seconds["the whole"] - models
            for name, spent in seconds.items():
                timings.setdefault(name, []).append(spent)
        return timings


def compare_images(options: Options) -> Timings:
    """``canonical`` at four angles as the number of photos grows."""
    segmenter = SamSegmenter(build_sam(options.sam))
    with TemporaryDirectory() as folder:
        counts = [options.photos * factor for factor in (1, 2, 4)]
        dataset = write_coco_like(Path(folder) / "data", counts[-1], boxes=7)
        return race(
            {
                f"{count} photos": photo_loop(
                    dataset, segmenter, methods=["canonical"], limit=count
                )
                for count in counts
            },
            options.repeats,
        )


def compare_sizes(options: Options) -> Timings:
    """``canonical`` at four angles as photos grow; seven boxes."""
    segmenter = SamSegmenter(build_sam(options.sam))
    with TemporaryDirectory() as folder:
        contestants = {}
        for width in (640, 1280, 2560, 5120):
            size_hw = (width * 3 // 4, width)
            dataset = write_coco_like(Path(folder) / str(width), 1, size_hw, boxes=7)
            contestants[f"{size_hw[1]} x {size_hw[0]}"] = photo_loop(
                dataset, segmenter, methods=["canonical"]
            )
        return race(contestants, options.repeats)


def compare_boxes(options: Options) -> Timings:
    """Decoding as the number of boxes in a photo grows."""
    predictor = samrot.RobustPredictor(build_sam(options.sam))
    predictor.set_image(photo())
    prompts = {count: Prompts(boxes_xyxy=boxes_on(PHOTO_HW, count)) for count in (1, 10, 100)}
    return race(
        {
            f"{count} boxes": partial(predictor.predict_prompts, some)
            for count, some in prompts.items()
        },
        options.repeats,
    )
