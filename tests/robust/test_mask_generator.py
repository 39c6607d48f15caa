"""Everything in a photo: records in the user's frame, the same at every turn."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import mask_to_rle_pytorch, rle_to_mask

import samrot
from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.geometry.rle import encode_mask
from samrot.robust.frames import CanonicalFrame
from samrot.robust.mask_generator import move_record
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


@pytest.mark.parametrize("kind", ["mask", "uncompressed", "coco"])
def test_a_record_that_is_untilted(kind: str) -> None:
    """From a canonical canvas to a photo that was tilted by 30 degrees and turned by a quarter."""
    photo_hw = (60, 80)
    frame = CanonicalFrame.of_pose(Pose(1, 30.0), photo_hw, tilt="full")
    back = frame.transform.inverse()
    canvas = np.zeros(back.source_hw, dtype=bool)
    middle_y, middle_x = np.array(canvas.shape) // 2
    canvas[middle_y - 6 : middle_y + 6, middle_x - 10 : middle_x + 10] = True
    segmentation: Any = canvas
    if kind == "uncompressed":
        segmentation = mask_to_rle_pytorch(torch.from_numpy(canvas)[None])[0]
    elif kind == "coco":
        segmentation = encode_mask(canvas)
    record = {
        "segmentation": segmentation, "area": 240, "bbox": [0, 0, 0, 0], "predicted_iou": 0.9,
        "crop_box": [0, 0, canvas.shape[1], canvas.shape[0]],
        "point_coords": [[middle_x + 0.5, middle_y + 0.5]],
    }  # fmt: skip
    moved = move_record(record, back)
    mask = as_mask(moved["segmentation"])
    assert type(moved["segmentation"]) is type(segmentation)
    assert mask.shape == photo_hw
    assert np.array_equal(mask, back.masks(canvas))
    assert abs(moved["area"] - 240) < 12
    assert moved["area"] == mask.sum()
    x, y, width, height = moved["bbox"]
    assert mask[y : y + height + 1, x : x + width + 1].sum() == mask.sum()
    assert mask[y].any()
    assert mask[:, x + width].any()
    assert moved["crop_box"] == [0, 0, 80, 60]
    assert moved["predicted_iou"] == 0.9
    assert np.abs(np.array(moved["point_coords"][0]) - (40, 30)).max() < 2
    canvas[:] = False
    canvas[:3, :3] = True  # beside the photo
    beside = move_record({**record, "segmentation": canvas}, back)
    assert (beside["area"], beside["bbox"]) == (0, [0, 0, 0, 0])


def test_the_tilt_policy_is_checked() -> None:
    with pytest.raises(InputError, match="tilt is 'some'; expected one of: quarter, full, auto"):
        samrot.RobustMaskGenerator(samrot.load_segmenter(), tilt="some")  # type: ignore[arg-type]


@pytest.mark.parametrize(("tilt", "untilted"), [("auto", True), ("full", True), ("quarter", False)])
def test_everything_in_a_tilted_photo(
    tilt: str, untilted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright = np.full((60, 80, 3), 60, dtype=np.uint8)
    cv2.ellipse(upright, (40, 30), (25, 8), 0, 0, 360, (230, 230, 230), -1)
    seen: list[np.ndarray] = []

    def bright_and_corner(image: np.ndarray) -> list[dict[str, Any]]:
        """The generator's records of what is bright, and of a corner."""
        seen.append(image)
        corner = np.zeros(image.shape[:2], dtype=bool)
        corner[:4, :4] = True
        return [
            {
                "segmentation": mask, "area": int(mask.sum()), "bbox": [0, 0, 0, 0],
                "crop_box": [0, 0, *image.shape[1::-1]], "point_coords": [[0.0, 0.0]],
            }
            for mask in (image[..., 0] > 200, corner)
        ]  # fmt: skip

    robust = samrot.RobustMaskGenerator(samrot.load_segmenter(), canonicalizer=None, tilt=tilt)  # type: ignore[arg-type]
    monkeypatch.setattr(robust.generator, "generate", bright_and_corner)
    view = PlaneTransform.from_pose(Pose(1, 20.0), (60, 80), "expand")
    records = robust.generate(view.image(upright, fill=(0, 0, 0)), pose=Pose(1, 20.0))
    rows, columns = (np.ptp(np.nonzero(seen[0][..., 0] > 200)[axis]) for axis in (0, 1))
    assert (rows < 18) == untilted  # the rod lies level
    assert columns > 40
    assert len(records) == (1 if untilted else 2)  # the corner is beside the photo
    expected = view.masks(upright[..., 0] > 200)
    mask = records[0]["segmentation"]
    assert mask.shape == expected.shape
    assert (mask & expected).sum() / (mask | expected).sum() > 0.9
    assert records[0]["area"] == mask.sum()


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
        (samrot.load_segmenter("box"), {}, "by their predicted IoU, but box predicts none"),
        (sam, {"output_mode": "png"}, "Unknown output_mode png"),
        (sam, {"points_per_side": 0}, "the arguments are those of"),
        (sam, {"points_per_batch": 0}, "points_per_batch is 0"),
        (sam, {"points_per_sid": 3}, "points_per_sid is no argument .* mean points_per_side?"),
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


def test_moving_to_a_device() -> None:
    generator = samrot.RobustMaskGenerator(samrot.load_segmenter(), **OPTIONS)  # type: ignore[arg-type]
    assert generator.to("meta") is generator
    assert generator.predictor.device == generator.generator.predictor.device
    assert generator.predictor.device.type == "meta"
    assert generator.canonicalizer.pixel_mean.device.type == "meta"
