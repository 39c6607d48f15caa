"""The way through: all of D4 to the bit, tilts by one warp, snapping if and only if estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.frames import CanonicalFrame, find_frame, walk
from samrot.robust.mask_generator import RobustMaskGenerator
from samrot.robust.pose_sources import UPRIGHT, GivenPose
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import Encoding, Prompts, Segmentation
from samrot.structures.detections import Detections
from tests.conftest import SourceOfPoses, ThresholdSegmenter, random_photo, small_d4

SIZES = [(48, 64), (41, 64), (64, 41), (33, 33), (5, 7)]


class PromptEcho(ThresholdSegmenter):
    """Keeps the prompts that reach it, to the bit."""

    def __init__(self) -> None:
        self.prompts: list[Prompts] = []

    def decode(self, encoding: Encoding, prompts: Prompts, **options: Any) -> Segmentation:
        self.prompts.append(prompts)
        return super().decode(encoding, prompts, **options)


@pytest.mark.parametrize("size_hw", SIZES)
def test_commutes_with_all_symmetries(
    size_hw: tuple[int, int], threshold_segmenter: ThresholdSegmenter
) -> None:
    predictor = RobustPredictor(threshold_segmenter, small_d4())
    image, (height, width) = random_photo(7, *size_hw), size_hw
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (20, 2)) * (width / 2, height / 2)
    boxes = np.concatenate([corners, corners + random.uniform(1, 20, (20, 2))], axis=1).round(2)
    predictor.set_image(image)
    pose, upright = predictor.pose, predictor.predict_prompts(Prompts(boxes_xyxy=boxes))
    assert upright.masks.any()
    assert predictor.pose_probabilities.shape == (8,)
    assert predictor.pose_confidence == predictor.pose_probabilities.max()
    for g in range(8):
        predictor.set_image(exact.move_image(image, g))
        assert predictor.pose == D4.compose(g, pose)
        moved_boxes = exact.move_boxes(boxes, g, size_hw)
        moved = predictor.predict_prompts(Prompts(boxes_xyxy=moved_boxes))
        assert torch.equal(moved.masks, exact.move_tensor(upright.masks, g))
        assert torch.equal(moved.scores, upright.scores)
        assert torch.equal(moved.low_res_logits, exact.move_tensor(upright.low_res_logits, g))


@pytest.mark.parametrize("element", range(8))
def test_a_given_pose_is_the_plain_segmenter_to_the_bit(element: int) -> None:
    """Nothing is snapped: the coordinates are the user's, moved in float64."""
    image, boxes = random_photo(1, 41, 64), np.array([[3.3, 4.7, 30.123456, 20.9]])
    echo = PromptEcho()
    plain, given = RobustPredictor(echo, None), RobustPredictor(echo, small_d4())
    plain.set_image(image)
    expected = plain.predict_prompts(Prompts(boxes_xyxy=boxes))
    assert np.array_equal(echo.prompts[-1].boxes_xyxy, boxes)
    given.set_image(image, pose=0)
    assert torch.equal(given.predict_prompts(Prompts(boxes_xyxy=boxes)).masks, expected.masks)
    assert np.array_equal(echo.prompts[-1].boxes_xyxy, boxes)
    moved_boxes = exact.move_boxes(boxes, element, (41, 64))
    given.set_image(exact.move_image(image, element), pose=element)
    moved = given.predict_prompts(Prompts(boxes_xyxy=moved_boxes))
    assert torch.equal(moved.masks, exact.move_tensor(expected.masks, element))
    np.testing.assert_allclose(echo.prompts[-1].boxes_xyxy, boxes, rtol=0, atol=1e-12)
    assert given.pose_probabilities.tolist() == np.eye(8)[element].tolist()


def test_prompts_are_snapped_if_and_only_if_the_pose_was_estimated() -> None:
    boxes, points = np.array([[3.3, 4.7, 30.123456, 20.9]]), np.array([[[1.01, 2.02]]])
    prompts = Prompts(boxes, points, np.ones((1, 1)))
    for element in range(8):
        frames = {
            source: find_frame(random_photo(0, 40, 50), source)
            for source in (
                SourceOfPoses(Pose(element)),
                GivenPose(Pose(element, probabilities=np.full(8, 0.125))),  # estimated before
                GivenPose(Pose(element)),
                UPRIGHT,
            )
        }
        for source, frame in frames.items():
            moved = frame.canonical_prompts(prompts)
            for coordinates in (moved.boxes_xyxy, moved.point_coords):
                on_grid = bool((coordinates * 64 == np.round(coordinates * 64)).all())
                has_probabilities = source.estimate(random_photo(0, 4, 5)).probabilities is not None
                assert on_grid == (isinstance(source, SourceOfPoses) or has_probabilities)


def test_snapping_comes_before_the_warp() -> None:
    """So that all elements of an exact orbit bring the same numbers to it."""
    image, box = random_photo(0, 40, 50), np.array([[3.3, 4.7, 30.123456, 20.9]])
    moved = []
    for element in range(8):
        transform = PlaneTransform.from_pose(Pose(element), (40, 50))
        frame = find_frame(transform.image(image), SourceOfPoses(Pose(element, 20.0)), tilt="full")
        moved.append(frame.canonical_prompts(Prompts(boxes_xyxy=transform.boxes(box))).boxes_xyxy)
        assert np.array_equal(moved[-1], moved[0])


def bright(image: np.ndarray) -> Detections:
    """The bright blob of a photo, its box and its mask."""
    mask = (image > 128).all(axis=2)
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return Detections(np.array([box]), np.ones(1), np.ones(1), mask[None])


def blob() -> np.ndarray:
    y, x = np.mgrid[:60, :84]
    inside = ((x - 40) / 22) ** 2 + ((y - 28) / 11) ** 2 < 1
    return np.repeat((200 * inside[..., None]).astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize("element", [0, 1, 5, 6])
@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, -35.0])
def test_detections_come_back(element: int, tilt_deg: float) -> None:
    image, pose = blob(), Pose(element, tilt_deg)
    transform = PlaneTransform.from_pose(pose, (60, 84), "expand")
    moved = transform.image(image, (0, 0, 0))
    found = walk(moved, GivenPose(pose), bright, CanonicalFrame.user_detections, tilt="full")
    expected = bright(moved)
    assert found.masks is not None
    assert expected.masks is not None
    overlap = (found.masks & expected.masks).sum() / (found.masks | expected.masks).sum()
    assert overlap == 1.0 if tilt_deg == 0 else overlap > 0.93
    np.testing.assert_allclose(
        found.boxes_xyxy, expected.boxes_xyxy, atol=0.01 + abs(tilt_deg) / 10
    )
    quarter = walk(moved, GivenPose(pose), bright, CanonicalFrame.user_detections)
    assert np.array_equal(quarter.masks, expected.masks)


class BlobSegmenter(ThresholdSegmenter):
    """What is bright, whatever the prompt; its logits are signed distances of brightness."""

    def encode(self, image: np.ndarray) -> Encoding:
        return Encoding((image.shape[0], image.shape[1]), image[..., 0].astype(np.float32) - 100)

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        logits = torch.from_numpy(encoding.features)[None, None].repeat(len(prompts), 1, 1, 1)
        masks = logits if return_logits else logits > 0
        return Segmentation(masks, torch.ones(len(prompts), 1), logits[..., :4, :4])


@pytest.mark.parametrize("element", [0, 3, 4])
def test_a_tilt_is_undone_by_one_warp(element: int) -> None:
    pose = Pose(element, 25.0)
    transform = PlaneTransform.from_pose(pose, (60, 84), "expand")
    moved = transform.image(blob(), (0, 0, 0))
    box = bright(moved).boxes_xyxy[0]
    full, quarter = (
        RobustPredictor(BlobSegmenter(), SourceOfPoses(pose), tilt=tilt)  # type: ignore[arg-type]
        for tilt in ("full", "auto")
    )
    for predictor in (full, quarter):
        predictor.set_image(moved)
        assert predictor.tilt_deg == 25.0
        assert predictor.pose == element
        (mask,), _, _ = predictor.predict(box=box, multimask_output=False)
        truth = bright(moved).masks[0]
        assert mask.shape == moved.shape[:2]
        assert mask.dtype == bool
        assert (mask & truth).sum() / (mask | truth).sum() > 0.95
        (logits,), _, _ = predictor.predict(box=box, multimask_output=False, return_logits=True)
        assert np.array_equal(logits > 0, mask)
    with pytest.raises(InputError, match="tilt is 'half'; expected one of: quarter, full, auto"):
        RobustPredictor(BlobSegmenter(), None, tilt="half")


def test_masks_of_a_detector_must_fit() -> None:
    wrong = Detections(np.zeros((1, 4)), np.ones(1), np.ones(1), np.ones((1, 2, 2), dtype=bool))
    with pytest.raises(InputError, match=r"masks of \(2, 2\); expected \(64, 41\), the size"):
        walk(
            random_photo(0, 41, 64), GivenPose(Pose(1)), lambda _: wrong,
            CanonicalFrame.user_detections,
        )  # fmt: skip


@pytest.mark.parametrize("element", range(4, 8))
def test_the_mask_generator_takes_mirrored_photos(element: int) -> None:
    image = np.asarray(blob()) + random_photo(0, 60, 84) // 8
    generator = RobustMaskGenerator(
        samrot.load_segmenter("sam_mini"), points_per_side=3, pred_iou_thresh=0.0,
        stability_score_thresh=0.0, canonicalizer=None,
    )  # type: ignore[arg-type]  # fmt: skip
    expected = generator.generate(image)
    moved = generator.generate(exact.move_image(image, element), pose=element)
    assert len(moved) == len(expected) > 0
    for got, want in zip(moved, expected, strict=True):
        mask = exact.move_image(want["segmentation"], element)
        assert np.array_equal(got["segmentation"], mask)
        rows, columns = np.nonzero(mask)
        x, y, width, height = got["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max(), rows.max())
