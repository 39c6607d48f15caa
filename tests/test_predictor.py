"""The pipeline commutes with rotation to the bit, and without a canonicalizer is SamPredictor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

import samrot
from samrot.geometry import actions
from samrot.predictor import RobustPredictor
from samrot.segmenters import Prompts, load_segmenter
from tests.conftest import ThresholdSegmenter, random_photo

SIZES = [(48, 64), (41, 64), (64, 41), (33, 33), (5, 7)]


@pytest.fixture(scope="module")
def sam_mini() -> object:
    return load_segmenter("sam_mini")


@pytest.mark.parametrize("size_hw", SIZES)
def test_commutes_with_rotation(
    size_hw: tuple[int, int], threshold_segmenter: ThresholdSegmenter
) -> None:
    predictor = RobustPredictor(threshold_segmenter)
    image = random_photo(7, *size_hw)
    height, width = size_hw
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (20, 2)) * (width / 2, height / 2)
    boxes = np.concatenate([corners, corners + random.uniform(1, 20, (20, 2))], axis=1).round(2)
    predictor.set_image(image)
    pose, upright = predictor.pose, predictor.predict_prompts(Prompts(boxes_xyxy=boxes))
    assert upright.masks.any()
    for k in range(1, 4):
        predictor.set_image(actions.rotate_image(image, k))
        assert predictor.pose == (pose + k) % 4
        turned_boxes = actions.rotate_boxes(boxes, k, size_hw)
        turned = predictor.predict_prompts(Prompts(boxes_xyxy=turned_boxes))
        assert torch.equal(turned.masks, actions.rotate_tensor(upright.masks, k))
        assert torch.equal(turned.scores, upright.scores)


def test_the_plain_segmenter_does_not_commute(threshold_segmenter: ThresholdSegmenter) -> None:
    predictor = RobustPredictor(threshold_segmenter, None)
    image, boxes = random_photo(7, 33, 33), np.array([[0.0, 0.0, 33.0, 33.0]])
    predictor.set_image(image)
    upright = predictor.predict_prompts(Prompts(boxes_xyxy=boxes)).masks
    predictor.set_image(actions.rotate_image(image, 1))
    turned = predictor.predict_prompts(Prompts(boxes_xyxy=boxes)).masks
    assert not torch.equal(turned, actions.rotate_tensor(upright, 1))


@pytest.mark.parametrize("k", range(4))
def test_sam_in_the_canonical_frame(k: int, sam_mini: object) -> None:
    """Boxes, points, mask input and logits all go there and back."""
    image = random_photo(3, 120, 160)
    plain, robust = SamPredictor(sam_mini.sam), RobustPredictor(sam_mini)  # type: ignore[attr-defined]
    plain.set_image(image)
    turned_hw = actions.rotate_size((120, 160), k)
    robust.set_image(actions.rotate_image(image, k), pose=k)
    points, labels, box = (
        np.array([[30.0, 40.0], [90.5, 70.25]]),
        np.array([1, 0]),
        np.array([20.0, 15.0, 110.0, 100.0]),
    )
    turned_points = actions.rotate_points(points, k, (120, 160))
    turned_box = actions.rotate_boxes(box, k, (120, 160))
    mask_input = None
    for _ in range(2):
        expected = plain.predict(points, labels, box, mask_input)
        turned_input = None if mask_input is None else actions.rotate_masks(mask_input, k)
        got = robust.predict(turned_points, labels, turned_box, turned_input)
        assert got[0].shape == (3, *turned_hw)
        assert got[0].dtype == bool
        assert np.array_equal(got[0], actions.rotate_masks(expected[0], k))
        np.testing.assert_array_equal(got[1], expected[1])
        np.testing.assert_array_equal(got[2], actions.rotate_masks(expected[2], k))
        mask_input = expected[2][:1]
    assert robust.pose == k
    assert robust.pose_probabilities.tolist() == np.eye(4)[k].tolist()


def test_takes_a_sam_model_and_bgr(sam_mini: object) -> None:
    image = random_photo(3, 60, 80)
    first, second = RobustPredictor(sam_mini.sam), RobustPredictor(sam_mini)  # type: ignore[attr-defined]
    first.set_image(image)
    second.set_image(image[..., ::-1], image_format="BGR")
    box = np.array([5.0, 5.0, 50.0, 40.0])
    for a, b in zip(first.predict(box=box), second.predict(box=box), strict=True):
        assert np.array_equal(a, b)
    assert first.canonicalizer is not None
    assert first.get_image_embedding().shape == (1, 96, 64, 64)


def test_errors_leave_the_state_alone(sam_mini: object) -> None:
    predictor = RobustPredictor(sam_mini, None)
    with pytest.raises(RuntimeError, match="call set_image"):
        predictor.predict(box=np.zeros(4))
    with pytest.raises(RuntimeError, match="call set_image"):
        _ = predictor.pose
    image = random_photo(0, 20, 30)
    predictor.set_image(image)
    before = predictor.predict(box=np.array([1.0, 1.0, 20.0, 15.0]))
    for call, message in (
        (lambda: predictor.set_image(image.astype(float)), "dtype float64; expected uint8"),
        (lambda: predictor.set_image(image, "GBR"), "image_format is 'GBR'"),
        (lambda: predictor.set_image(image, pose=4), "pose is 4; expected one of: 0, 1, 2, 3"),
        (lambda: predictor.predict(box=np.zeros(3)), r"box has shape \(3,\); expected \(4\)"),
        (lambda: predictor.predict(box=np.array([0, 0, np.nan, 1])), "box holds NaN"),
        (lambda: predictor.predict(point_coords=np.zeros((1, 2))), "point_labels is missing"),
        (lambda: predictor.predict(point_labels=np.zeros(1)), "without point_coords"),
        (
            lambda: predictor.predict(np.zeros((2, 2)), np.zeros(3)),
            r"point_labels has shape \(3,\); expected \(2\)",
        ),
        (lambda: predictor.predict(mask_input=np.zeros((4, 4))), "mask_input has shape"),
    ):
        with pytest.raises(samrot.InputError, match=message):
            call()
    after = predictor.predict(box=np.array([1.0, 1.0, 20.0, 15.0]))
    assert np.array_equal(before[2], after[2])
    predictor.reset_image()
    with pytest.raises(RuntimeError):
        predictor.predict(box=np.zeros(4))


def brightest_pixel(image: np.ndarray) -> samrot.Detections:
    """A detector: one box around the brightest pixel, category by which half it is in."""
    assert image.flags.c_contiguous
    y, x = np.unravel_index(image.astype(int).sum(axis=2).argmax(), image.shape[:2])
    return samrot.Detections(
        np.array([[x, y, x + 1.0, y + 1.0]]), np.array([0.5]), np.array([int(y < len(image) / 2)])
    )


@pytest.mark.parametrize("k", range(4))
def test_canonicalized_detector(k: int) -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    image[:15] = 90
    image[4, 9] = 255
    detector = samrot.canonicalized(brightest_pixel)
    upright, turned = detector(image), detector(actions.rotate_image(image, k))
    expected = actions.rotate_boxes(upright.boxes_xyxy, k, (30, 40))
    assert np.array_equal(turned.boxes_xyxy, expected)
    assert np.array_equal(turned.category_ids, upright.category_ids)


def test_canonicalized_detector_must_return_detections() -> None:
    detector = samrot.canonicalized(lambda image: [])  # type: ignore[arg-type, return-value]
    with pytest.raises(samrot.InputError, match=r"returned a list; expected samrot\.Detections"):
        detector(random_photo(0, 8, 8))


def test_detections_are_checked() -> None:
    assert len(samrot.Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0))) == 0
    with pytest.raises(samrot.InputError, match=r"shape \(3,\); expected \(N, 4\)"):
        samrot.Detections(np.zeros(3), np.zeros(1), np.zeros(1))
    with pytest.raises(samrot.InputError, match=r"expected \(1,\) for 1 boxes"):
        samrot.Detections(np.zeros((1, 4)), np.zeros(2), np.zeros(1))
    with pytest.raises(samrot.InputError, match="NaN or infinity"):
        samrot.Detections(np.full((1, 4), np.nan), np.zeros(1), np.zeros(1))
