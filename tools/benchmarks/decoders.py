"""Mask decoders, on the boxes of one photo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from segment_anything import SamPredictor

import samrot
from benchmarks.racing import Timings, race
from benchmarks.subjects import PHOTO_HW, Options, boxes_on, build_sam, photo
from samrot.segmenters import DecoderSettings, Prompts, SamSegmenter

BOXES = 64
WAYS = {
    "samrot, default": DecoderSettings(),
    "sdpa": DecoderSettings(attention="sdpa"),
    "sdpa, box margin 0.25": DecoderSettings(attention="sdpa", box_margin=0.25),
}


def compare_decoder(options: Options) -> Timings:
    """64 boxes in a photo that is encoded already, to binary masks of its size."""
    sam, boxes = build_sam(options.sam), boxes_on(PHOTO_HW, BOXES)
    plain = SamPredictor(sam)
    plain.set_image(photo())
    resized = torch.as_tensor(plain.transform.apply_boxes(boxes, PHOTO_HW)).float().to(plain.device)
    contestants: dict[str, Callable[[], object]] = {
        "segment-anything": partial(
            plain.predict_torch, None, None, resized, multimask_output=False
        )
    }
    for name, settings in WAYS.items():
        if options.sam != "sam_mini" or settings == DecoderSettings():  # it has no transformer
            ours = samrot.RobustPredictor(SamSegmenter(sam, decoder=settings), None)
            ours.set_image(photo())
            prompts = Prompts(boxes_xyxy=boxes)
            contestants[name] = partial(ours.predict_prompts, prompts)
    return race(contestants, options.repeats)
