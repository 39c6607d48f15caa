"""Mask decoders, on the boxes of one photo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

import samrot
from benchmarks.racing import Timings, race
from benchmarks.subjects import PHOTO_HW, Options, boxes_on, build_sam, device, photo
from samrot.segmenters import DecoderSettings, Prompts, SamSegmenter, Segmentation
from samrot.segmenters.sam_mini_1 import build_sam_mini_1

BOXES = 64
THEIRS = "segment-anything"
WAYS = {
    "samrot, default": DecoderSettings(),
    "sdpa": DecoderSettings(attention="sdpa"),
    "sdpa, box margin 0.25": DecoderSettings(attention="sdpa", box_margin=0.25),
}


def compare_decoder(options: Options) -> Timings:
    """64 boxes in a photo that is encoded already, to binary masks of its size.

    ``sam_mini`` has no transformer; beside it runs the decoder that it had in samrot 0.1.0.
    """
    sam = build_sam(options.sam)
    contestants: dict[str, Callable[[], object]] = {THEIRS: decode_theirs(sam)}
    if options.sam == "sam_mini":
        first = build_sam_mini_1().eval().to(device())
        ours = {"of samrot 0.1.0": SamSegmenter(first), "samrot, default": SamSegmenter(sam)}
    else:
        ours = {name: SamSegmenter(sam, decoder=settings) for name, settings in WAYS.items()}
    contestants |= {name: decode_ours(segmenter) for name, segmenter in ours.items()}
    return race(contestants, options.repeats)


def decode_theirs(sam: Sam) -> Callable[[], torch.Tensor]:
    """Makes the masks, (64, 1, H, W), as segment-anything does; the photo is encoded already."""
    predictor, boxes = SamPredictor(sam), boxes_on(PHOTO_HW, BOXES)
    predictor.set_image(photo())
    resized = torch.as_tensor(predictor.transform.apply_boxes(boxes, PHOTO_HW)).float()
    resized = resized.to(predictor.device)

    def decode() -> torch.Tensor:
        masks, _, _ = predictor.predict_torch(None, None, resized, multimask_output=False)
        return masks.cpu()  # where samrot's are

    return decode


def decode_ours(segmenter: SamSegmenter) -> Callable[[], Segmentation]:
    """Makes the masks, (64, 1, H, W), as samrot does; the photo is encoded already."""
    predictor = samrot.RobustPredictor(segmenter, None)
    predictor.set_image(photo())
    return partial(predictor.predict_prompts, Prompts(boxes_xyxy=boxes_on(PHOTO_HW, BOXES)))
