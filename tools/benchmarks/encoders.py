"""SAM's image encoder: how fast each setting is, and what it does to masks."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.racing import Figures, Timings, race
from benchmarks.subjects import Options, build_sam, photo, photo_loop
from samrot.data.coco import CocoDataset
from samrot.evaluation.results import coco_results
from samrot.geometry.rle import RLE, rle_iou
from samrot.scoring import average_precision
from samrot.segmenters import EncoderSettings, Encoding, SamSegmenter, Segmenter

VARIANTS = {
    "segment-anything": EncoderSettings(),
    "channels last": EncoderSettings(channels_last=True),
    "compiled": EncoderSettings(compile=True),
    "bfloat16": EncoderSettings(dtype="bfloat16"),
    "sdpa": EncoderSettings(attention="sdpa"),
    "sdpa, bfloat16": EncoderSettings(attention="sdpa", dtype="bfloat16"),
    "sdpa, bfloat16, channels last": EncoderSettings(
        attention="sdpa", dtype="bfloat16", channels_last=True
    ),
    "sdpa, bfloat16, compiled": EncoderSettings(attention="sdpa", dtype="bfloat16", compile=True),
}
BATCH = 4


def compare_encoder(options: Options) -> Timings:
    """The image encoder for one photo: segment-anything's own, and faster ones."""
    sam, image = build_sam(options.sam), photo()
    segmenters = _variants(sam)
    contestants = {name: partial(segmenter.encode, image) for name, segmenter in segmenters.items()}
    return race(contestants, options.repeats)


def compare_batches(options: Options) -> Timings:
    """Four photos encoded, one at a time and at once."""
    images = [photo(seed) for seed in range(BATCH)]
    segmenter = SamSegmenter(build_sam(options.sam))

    def one_at_a_time() -> None:
        for image in images:
            segmenter.encode(image)

    return race(
        {"one at a time": one_at_a_time, "at once": lambda: segmenter.encode_batch(images)},
        options.repeats,
    )


def compare_masks(options: Options) -> Figures:
    """What encoder settings do to the masks of sam_mini, upright, ground-truth boxes.

    sam_mini's encoder has no attention to replace. Settings with sdpa are measured on ViT-B: by how
    much they change its embedding, and what noise of that size does to sam_mini.
    """
    assert options.data is not None
    dataset = CocoDataset.load(*options.data)
    mini = _variants(build_sam("sam_mini"))
    contestants: dict[str, Segmenter] = dict(mini)
    vits = _variants(build_sam("sam_vit_b"))
    image = dataset.read(dataset.image_ids[0])
    expected = vits["segment-anything"].encode(image).features
    for name, vit in vits.items():
        if name not in mini:
            change = vit.encode(image).features - expected
            amount = float(change.norm() / expected.norm())
            contestants[f"noise of {amount:.1e}, as {name} makes"] = _Noisy(
                mini["segment-anything"], amount
            )
    del vits
    found: dict[str, tuple[list[RLE], float]] = {}
    for name, segmenter in contestants.items():
        found[name] = _masks(dataset, segmenter, options.photos)
    reference, upright = found["segment-anything"]
    return {
        name: {
            "identical masks": float(np.mean([*map(operator.eq, masks, reference)])),
            "mean IoU with the first": float(np.mean([*map(rle_iou, masks, reference)])),
            "AP": score,
            "difference": score - upright,
        }
        for name, (masks, score) in found.items()
    }


def _variants(sam: Any) -> dict[str, SamSegmenter]:
    """Those that fit the model."""
    is_vit = hasattr(sam.image_encoder, "blocks")
    return {
        name: SamSegmenter(sam, encoder=settings)
        for name, settings in VARIANTS.items()
        if is_vit or settings.attention == "original"
    }


class _Noisy:
    """A segmenter whose embeddings are off by a share of their norm."""

    def __init__(self, segmenter: SamSegmenter, amount: float) -> None:
        self.segmenter = segmenter
        self.amount = amount
        self.decode = segmenter.decode
        self.name, self.predicts_scores = segmenter.name, segmenter.predicts_scores
        self.device = segmenter.device

    def encode(self, image: np.ndarray) -> Encoding:
        encoding = self.segmenter.encode(image)
        features = encoding.features
        generator = torch.Generator(features.device).manual_seed(0)
        noise = torch.randn(features.shape, generator=generator, device=features.device)
        off = features + noise * (self.amount * features.norm() / noise.norm())
        return Encoding(encoding.size_hw, off)


def _masks(dataset: CocoDataset, segmenter: Segmenter, photos: int) -> tuple[list[RLE], float]:
    records = photo_loop(dataset, segmenter, methods=["none"], angles=[0], limit=photos)()
    image_ids = [record["image_id"] for record in records]
    results = [
        result
        for record in records
        for result in coco_results(record["image_id"], record["methods"]["none"]["0"], dataset)[
            "segm"
        ]
    ]
    score = average_precision(dataset.content, results, image_ids, "segm")["AP"]
    assert score is not None
    return [result["segmentation"] for result in results], score
