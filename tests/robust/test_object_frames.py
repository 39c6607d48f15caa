"""Rotated boxes as prompts: plain boxes at quarter turns, upright elsewhere, few encodings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.geometry.rotated_boxes import corners_of, residue_deg
from samrot.robust.frames import CanonicalFrame
from samrot.robust.object_frames import DEAD_BAND_DEG, MOST_FRAMES, object_frames
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import Encoding, Prompts, Segmentation
from tests.conftest import SourceOfPoses, ThresholdSegmenter, random_photo, small_d4, small_sam


class FilledBox(ThresholdSegmenter):
    """The inside of the box: shows where boxes come to lie. Counts what it encodes."""

    def __init__(self) -> None:
        self.num_encoded = 0

    def encode(self, image: np.ndarray) -> Encoding:
        self.num_encoded += 1
        return Encoding((image.shape[0], image.shape[1]), None)

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        assert prompts.rotated_boxes is None
        assert prompts.boxes_xyxy is not None
        height, width = encoding.size_hw
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        inside = [
            np.minimum(np.minimum(x - a, c - x), np.minimum(y - b, d - y))
            for a, b, c, d in prompts.boxes_xyxy
        ]
        logits = torch.from_numpy(np.stack(inside).astype(np.float32))[:, None]
        scores = torch.from_numpy(prompts.boxes_xyxy.sum(axis=1, keepdims=True))
        low_res = logits.new_zeros(len(prompts), 1, 4, 4)
        return Segmentation(logits if return_logits else logits > 0, scores, low_res)


def filled(box: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The inside of a rotated box, (H, W) bool: pixel centres, in the axes of the box."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    top_left, top_right, _, bottom_left = corners_of(box)
    inside = np.ones(size_hw, dtype=bool)
    for end, side in ((top_right, box[2]), (bottom_left, box[3])):
        axis = (end - top_left) / side
        along = (x - box[0]) * axis[0] + (y - box[1]) * axis[1]
        inside &= np.abs(along) < side / 2
    return inside


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("canonicalizer", [None, "c4"])
@pytest.mark.parametrize("turns", range(-3, 5))
def test_quarter_turns_are_the_plain_box_to_the_bit(turns: int, canonicalizer: str | None) -> None:
    predictor = RobustPredictor(small_sam(), canonicalizer)
    predictor.set_image(random_photo(5, 60, 80))
    cx, cy, width, height = 33.25, 28.5, 40.5, 23.0
    box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
    sides = (width, height) if turns % 2 == 0 else (height, width)
    expected = predictor.predict(box=box)
    found = predictor.predict(rotated_box=[cx, cy, *sides, 90 * turns])
    for got, want in zip(found, expected, strict=True):
        assert np.array_equal(got, want)
    assert predictor.encoder_passes == 1


@pytest.mark.parametrize("angle_deg", [10.0, -30.0, 45.0, 62.5, 100.0, 170.0])
@pytest.mark.parametrize("pose", [Pose(), Pose(3), Pose(6), Pose(1, 20.0)])
def test_the_mask_fills_the_rotated_box(angle_deg: float, pose: Pose) -> None:
    for tilt in ("quarter", "full"):
        predictor = RobustPredictor(FilledBox(), SourceOfPoses(pose), tilt=tilt)  # type: ignore[arg-type]
        predictor.set_image(random_photo(0, 90, 120))
        box = np.array([70.0, 48.0, 50.0, 22.0, angle_deg])
        (mask,), _, _ = predictor.predict(rotated_box=box, multimask_output=False)
        assert iou(mask, filled(box, (90, 120))) > 0.95
        (logits,), _, _ = predictor.predict(
            rotated_box=box, multimask_output=False, return_logits=True
        )
        assert np.array_equal(logits > 0, mask)


@pytest.mark.parametrize("corner", [(5.0, 5.0), (112.0, 8.0), (116.0, 86.0)])
def test_objects_in_the_corners_are_seen_whole(corner: tuple[float, float]) -> None:
    predictor = RobustPredictor(FilledBox(), None)
    predictor.set_image(random_photo(0, 90, 120))
    box = np.array([*corner, 30.0, 12.0, 40.0])
    (mask,), _, _ = predictor.predict(rotated_box=box, multimask_output=False)
    assert iou(mask, filled(box, (90, 120))) > 0.9


def random_boxes(number: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    low, high = (20, 20, 12, 6, -180), (60, 40, 40, 25, 180)
    return random.uniform(low, high, (number, 5))


@pytest.mark.parametrize("size_hw", [(48, 64), (41, 64), (64, 41)])
def test_commutes_with_all_symmetries(size_hw: tuple[int, int]) -> None:
    """Snapping is of rotated boxes too: all elements of an exact orbit agree to the bit."""
    boxes, image = random_boxes(12), random_photo(7, *size_hw)
    boxes[:, :2] = boxes[:, :2] / (64, 48) * (size_hw[1], size_hw[0])
    boxes[:3, 4] = (0, 90, 270)
    predictor = RobustPredictor(ThresholdSegmenter(), small_d4())
    predictor.set_image(image)
    upright = predictor.predict_prompts(Prompts(rotated_boxes=boxes))
    assert upright.masks.any()
    for g in range(8):
        transform = PlaneTransform.from_pose(Pose(g), size_hw)
        predictor.set_image(transform.image(image))
        moved = predictor.predict_prompts(Prompts(rotated_boxes=transform.rotated_boxes(boxes)))
        assert torch.equal(moved.scores, upright.scores)
        assert torch.equal(moved.masks, exact.move_tensor(upright.masks, g))


def test_encoder_passes_are_bounded_and_counted() -> None:
    segmenter = FilledBox()
    predictor = RobustPredictor(segmenter, None)
    predictor.set_image(random_photo(0, 60, 80))
    boxes = random_boxes(40)
    together = predictor.predict_prompts(Prompts(rotated_boxes=boxes))
    assert predictor.encoder_passes == segmenter.num_encoded == 1 + MOST_FRAMES
    # In the order of the boxes, and in place.
    for mask, box in zip(together.masks[:, 0].numpy(), boxes, strict=True):
        assert iou(mask, filled(box, (60, 80))) > 0.45
    # What was encoded is kept; another image starts anew.
    again = predictor.predict_prompts(Prompts(rotated_boxes=boxes))
    assert torch.equal(again.masks, together.masks)
    assert segmenter.num_encoded == 1 + MOST_FRAMES
    predictor.set_image(random_photo(1, 60, 80))
    assert predictor.encoder_passes == 1
    # Boxes of one angle share one frame, and are upright in it, exactly.
    boxes[:, 4] = np.resize([25.0, 115.0, -65.0], 40)
    predictor.predict_prompts(Prompts(rotated_boxes=boxes))
    assert predictor.encoder_passes == 2


def test_boxes_that_are_nearly_upright_keep_the_frame_of_the_photo() -> None:
    frame = CanonicalFrame.of_pose(Pose(2), (60, 80), snapped=True)
    boxes = np.array([[40.0, 30.0, 20.0, 10.0, a] for a in (1.0, 91.0, DEAD_BAND_DEG + 1, 30.0)])
    (own, rows), *others = object_frames(frame, boxes)
    assert own is frame
    assert rows.tolist() == [0, 1]
    for framed in others:
        assert framed.frame.snapped
        upright = framed.frame.transform.rotated_boxes(boxes[framed.rows])
        assert (residue_deg(upright[:, 4]) == 0).all()


def test_each_object_at_a_time_shares_frames_too() -> None:
    segmenter = FilledBox()
    predictor = RobustPredictor(segmenter, None)
    image = random_photo(0, 60, 80)
    predictor.set_image(image)
    boxes = random_boxes(9)
    objects = [Prompts(rotated_boxes=box[None]) for box in boxes]
    objects.insert(2, Prompts(boxes_xyxy=np.array([[3.0, 4.0, 30.0, 20.0]])))
    found = [best.masks for best in predictor.best_masks_each(objects)]
    assert segmenter.num_encoded <= 1 + MOST_FRAMES
    together = predictor.predict_prompts(Prompts(rotated_boxes=boxes)).masks
    assert torch.equal(torch.cat(found[:2] + found[3:]), together)
    ((of_batch, _, _),) = predictor.predict_batch([image], rotated_boxes=[boxes])
    assert np.array_equal(of_batch, together.numpy())
    assert list(predictor.best_masks_each([])) == []


def test_states_keep_the_photo() -> None:
    first, second = (RobustPredictor(FilledBox(), None) for _ in range(2))
    first.set_image(random_photo(0, 60, 80))
    box = [40.0, 30.0, 30.0, 12.0, 30.0]
    expected = first.predict(rotated_box=box)
    second.set_state(first.get_state())
    assert np.array_equal(second.predict(rotated_box=box)[0], expected[0])
    assert second.encoder_passes == 2


def test_points_go_along() -> None:
    """A click with a rotated box reaches the segmenter in the frame of the object."""
    seen: list[Prompts] = []

    class Echo(FilledBox):
        def decode(self, encoding: Encoding, prompts: Prompts, **options: Any) -> Segmentation:
            seen.append(prompts)
            return super().decode(encoding, prompts, **options)

    predictor = RobustPredictor(Echo(), None)
    predictor.set_image(random_photo(0, 90, 120))
    box = np.array([70.0, 48.0, 50.0, 22.0, 30.0])
    middle_of_the_top = corners_of(box)[:2].mean(axis=0)
    predictor.predict([middle_of_the_top], [1], rotated_box=box)
    x0, y0, x1, _ = seen[-1].boxes_xyxy[0]  # type: ignore[index]
    np.testing.assert_allclose(seen[-1].point_coords, [[[(x0 + x1) / 2, y0]]], atol=1e-6)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3, 0, 5], r"rotated box \[1.0, 2.0, 3.0, 0.0, 5.0\] has no size; expected .*w > 0"),
        ([1, 2, -3, 4, 5], "has no size"),
        ([1, 2, 3, 4, float("nan")], "rotated_box holds NaN"),
        ([1, 2, 3, 4, "steep"], "rotated_box is no array of numbers"),
        ([1, 2, 3, 4], r"rotated_box has shape \(4,\); expected \(5\)"),
        ([200, 2, 3, 4, 5], "lies beside the image of width 80 and height 60; give pixels"),
        # Its hull reaches the image, the box itself does not.
        ([-9, -9, 36, 2, 45], "lies beside the image"),
    ],
)
def test_bad_boxes(box: list[Any], message: str) -> None:
    predictor = RobustPredictor(FilledBox(), None)
    predictor.set_image(random_photo(0, 60, 80))
    with pytest.raises(InputError, match=message):
        predictor.predict(rotated_box=box)
    with pytest.raises(InputError, match="boxes and rotated boxes are both given"):
        predictor.predict(box=[1, 2, 3, 4], rotated_box=[9, 9, 3, 4, 5])
    predictor.predict(rotated_box=[-9, 9, 36, 2, -45])  # across a corner of the image


def test_a_resized_image_cannot_be_tilted() -> None:
    predictor = RobustPredictor(samrot.load_segmenter("sam_mini"), None)
    pixels = torch.as_tensor(predictor.transform.apply_image(random_photo(0, 60, 80)))
    predictor.set_torch_image(pixels.permute(2, 0, 1)[None], (60, 80))
    predictor.predict(rotated_box=[40, 30, 30, 12, 90])
    with pytest.raises(InputError, match="set_torch_image keeps none; use set_image"):
        predictor.predict(rotated_box=[40, 30, 30, 12, 30])
