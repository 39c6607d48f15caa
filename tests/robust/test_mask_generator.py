"""Everything in a photo: records in the user's frame, the same at every turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import rle_to_mask

import samrot
from samrot.geometry import exact
from samrot.segmenters import EVERYTHING_THRESHOLDS, EncoderSettings
from tests.segmenters.test_contract import disc_photo

OPTIONS = {"points_per_side": 3, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
CROPS = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 3}


def as_mask(segmentation: Any) -> np.ndarray:
    if isinstance(segmentation, np.ndarray):
        return segmentation
    if isinstance(segmentation["counts"], list):
        return rle_to_mask(segmentation)
    return coco_mask.decode(segmentation).astype(bool)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"output_mode": "binary_mask", **CROPS},
        {"output_mode": "uncompressed_rle"},
        {"output_mode": "coco_rle"},
    ],
    ids=lambda options: options["output_mode"],
)
def test_records_turn_with_the_photo(options: dict[str, Any]) -> None:
    segmenter, image = samrot.load_segmenter(), disc_photo()
    plain = SamAutomaticMaskGenerator(segmenter.sam, **OPTIONS, **options)  # type: ignore[attr-defined]
    robust = samrot.RobustMaskGenerator(segmenter, **OPTIONS, **options)  # type: ignore[arg-type]
    pose = samrot.load_canonicalizer().pose(image)
    upright = exact.move_image(image, (-pose) % 4)
    expected = plain.generate(upright)
    assert len(expected) > 1
    for k in range(4):
        turned = robust.generate(exact.move_image(upright, k))
        assert len(turned) == len(expected)
        for got, want in zip(turned, expected, strict=True):
            assert got.keys() == want.keys()
            mask = as_mask(got["segmentation"])
            assert type(got["segmentation"]) is type(want["segmentation"])
            assert np.array_equal(mask, exact.move_image(as_mask(want["segmentation"]), k))
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), x.max() - x.min(), y.max() - y.min()] if len(x) else [0] * 4
            assert got["bbox"] == box
            assert got["area"] == want["area"] == mask.sum()
            left, top, width, height = got["crop_box"]
            assert 0 <= left <= left + width <= mask.shape[1]
            assert 0 <= top <= top + height <= mask.shape[0]
            point = exact.move_points(want["point_coords"], k, upright.shape[:2])
            assert got["point_coords"] == point.tolist()


def test_it_uses_the_faster_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = EncoderSettings(dtype="bfloat16")
    segmenter = samrot.load_segmenter(encoder=encoder)
    segmenter.encode(disc_photo())  # the faster one is made at first use
    monkeypatch.setattr(segmenter.sam.image_encoder, "forward", None)  # type: ignore[attr-defined]
    generator = samrot.RobustMaskGenerator(segmenter, **OPTIONS)  # type: ignore[arg-type]
    assert generator.generate(disc_photo(), pose=0)


def test_bad_arguments() -> None:
    sam = samrot.load_segmenter().sam  # type: ignore[attr-defined]
    for model, options, message in (
        (samrot.load_segmenter("box"), {}, "model is a FilledBoxSegmenter; expected a segment_any"),
        (sam, {"output_mode": "png"}, "Unknown output_mode png"),
        (sam, {"points_per_side": 0}, "the arguments are those of"),
        (sam, {"points_per_batch": 0}, "points_per_batch is 0"),
        (sam, {"points": 3}, "unexpected keyword argument 'points'; the arguments are those of"),
    ):
        with pytest.raises(samrot.InputError, match=message):
            samrot.RobustMaskGenerator(model, **options)
    generator = samrot.RobustMaskGenerator(sam, canonicalizer=None)
    with pytest.raises(samrot.InputError, match="expected uint8"):
        generator.generate(np.zeros((4, 4, 3)))


def test_thresholds_of_the_segmenter_are_the_defaults() -> None:
    segmenter = samrot.load_segmenter()
    own = EVERYTHING_THRESHOLDS["sam_mini"]
    chosen = samrot.RobustMaskGenerator(segmenter, stability_score_thresh=0.1).generator
    assert chosen.pred_iou_thresh == own["pred_iou_thresh"]
    assert chosen.stability_score_thresh == 0.1
    by_place = samrot.RobustMaskGenerator(segmenter, 4, 64, 0.2).generator
    assert by_place.pred_iou_thresh == 0.2
    assert samrot.RobustMaskGenerator(segmenter.sam).generator.pred_iou_thresh == 0.88


@pytest.mark.parametrize(
    ("thresholds", "removed"),
    [
        ({"pred_iou_thresh": 0.99}, "pred_iou_thresh is 0.99, but the best value of all masks is "),
        (
            {"pred_iou_thresh": 0.0, "stability_score_thresh": 1.5},
            "stability_score_thresh is 1.5, but the best value of all masks is ",
        ),
    ],
)
def test_a_threshold_that_removes_everything_is_named(
    thresholds: dict[str, float], removed: str
) -> None:
    generator = samrot.RobustMaskGenerator(samrot.load_segmenter(), 3, **thresholds)
    with pytest.warns(UserWarning, match="nothing was found in the image: " + removed):
        assert generator.generate(disc_photo()) == []
