"""The pipeline commutes with rotation to the bit, and without a canonicalizer is SamPredictor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

import samrot
from samrot.errors import InputError
from samrot.geometry import exact
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import Encoding, Prompts, Segmentation, load_segmenter
from tests.conftest import ThresholdSegmenter, random_photo, small_sam

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
        predictor.set_image(exact.move_image(image, k))
        assert predictor.pose == (pose + k) % 4
        turned_boxes = exact.move_boxes(boxes, k, size_hw)
        turned = predictor.predict_prompts(Prompts(boxes_xyxy=turned_boxes))
        assert torch.equal(turned.masks, exact.move_tensor(upright.masks, k))
        assert torch.equal(turned.scores, upright.scores)


def test_the_plain_segmenter_does_not_commute(threshold_segmenter: ThresholdSegmenter) -> None:
    predictor = RobustPredictor(threshold_segmenter, None)
    image, boxes = random_photo(7, 33, 33), np.array([[0.0, 0.0, 33.0, 33.0]])
    predictor.set_image(image)
    upright = predictor.predict_prompts(Prompts(boxes_xyxy=boxes)).masks
    predictor.set_image(exact.move_image(image, 1))
    turned = predictor.predict_prompts(Prompts(boxes_xyxy=boxes)).masks
    assert not torch.equal(turned, exact.move_tensor(upright, 1))


@pytest.mark.parametrize("k", range(4))
def test_sam_in_the_canonical_frame(k: int, sam_mini: object) -> None:
    """Boxes, points, mask input and logits all go there and back."""
    image = random_photo(3, 120, 160)
    plain, robust = SamPredictor(sam_mini.sam), RobustPredictor(sam_mini)  # type: ignore[attr-defined]
    plain.set_image(image)
    turned_hw = exact.move_size((120, 160), k)
    robust.set_image(exact.move_image(image, k), pose=k)
    points, labels, box = (
        np.array([[30.0, 40.0], [90.5, 70.25]]),
        np.array([1, 0]),
        np.array([20.0, 15.0, 110.0, 100.0]),
    )
    turned_points = exact.move_points(points, k, (120, 160))
    turned_box = exact.move_boxes(box, k, (120, 160))
    mask_input = None
    for _ in range(2):
        expected = plain.predict(points, labels, box, mask_input)
        turned_input = None if mask_input is None else exact.move_masks(mask_input, k)
        got = robust.predict(turned_points, labels, turned_box, turned_input)
        assert got[0].shape == (3, *turned_hw)
        assert got[0].dtype == bool
        assert np.array_equal(got[0], exact.move_masks(expected[0], k))
        np.testing.assert_array_equal(got[1], expected[1])
        np.testing.assert_array_equal(got[2], exact.move_masks(expected[2], k))
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
    assert first.get_image_embedding(frame="canonical").shape == (1, 576, 32, 32)


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
        (lambda: predictor.set_image(image, pose=8), "pose is 8; expected a samrot Pose, or one"),
        (lambda: predictor.predict(box=np.array(0)), r"box has shape \(\); expected \(4\)"),
        (lambda: predictor.predict(box=np.zeros(3)), r"box has shape \(3,\); expected \(4\)"),
        (lambda: predictor.predict(box=np.array([0, 0, np.nan, 1])), "box holds NaN"),
        (lambda: predictor.predict(point_coords=np.zeros((1, 2))), "point_labels is missing"),
        (lambda: predictor.predict(point_labels=np.zeros(1)), "without point_coords"),
        (
            lambda: predictor.predict(np.zeros((2, 2)), np.zeros(3)),
            r"point_labels has shape \(3,\); expected \(2\)",
        ),
        (lambda: predictor.predict(mask_input=np.zeros((4, 4))), "mask_input has shape"),
        (
            lambda: predictor.predict(mask_input=np.zeros((1, 4, 4))),
            "mask_input is 4x4; expect",
        ),
        (lambda: predictor.predict(box=np.array([9, 1, 2, 5])), "9.0, 1.0, 2.0.* is inverted"),
        (lambda: predictor.predict(box=np.array([90, 1, 92, 5])), "beside the image of width 30"),
        (
            lambda: predictor.predict(np.array([[31, 4]]), np.ones(1)),
            "31.0, 4.0.* is off the",
        ),
        (lambda: predictor.predict(np.zeros((1, 2)), np.array([2])), "point label 2 is unknown"),
        (lambda: predictor.predict(box=["a"] * 4), "box is no array of numbers"),
        (lambda: predictor.predict(box=[[1, 2], [3]]), "box is no array of numbers"),
        (lambda: predictor.predict(box=np.full(4, 1e300)), "numbers beyond 1e"),
        (lambda: predictor.predict(box=np.ones(4) * 1j), "complex numbers"),
        (lambda: predictor.predict(np.zeros((0, 2)), np.zeros(0)), "point_coords holds no point"),
        (lambda: predictor.set_image(image, pose=True), "pose is True"),
        (lambda: predictor.set_image(image, pose=1.0), "pose is 1.0"),  # type: ignore[arg-type]
        (lambda: predictor.set_torch_image(image, (20, 30)), "is a ndarray; expected a tensor"),
        (
            lambda: predictor.set_torch_image(torch.zeros(1, 3, 512, 512), (60,)),
            r"original_image_size is \(60,\); expected",
        ),
        (lambda: predictor.predict_batch(None, None), "images or boxes is no list"),
        (lambda: RobustPredictor("sam_mini"), "segmenter is a str; expected what"),
        (
            lambda: predictor.predict_torch(
                None, None, torch.zeros(2, 4), torch.zeros(1, 1, 128, 128)
            ),
            "numbers of prompts differ",
        ),
        (lambda: predictor.predict_batch([image], []), "images are 1 and boxes 0"),
        (
            lambda: predictor.predict_batch([image] * 2, [[[1.0, 2.0, 9.0, 9.0]], None]),
            "no prompt is given for image 1, None for boxes; expected",
        ),
        (lambda: predictor.predict_batch([image], [np.zeros((1, 3))]), r"boxes has shape \(1, 3\)"),
        (
            lambda: predictor.set_torch_image(torch.zeros(1, 3, 20, 30), (20, 30)),
            "expected .1, 3, H, W. with the longer side 512",
        ),
        (
            lambda: predictor.set_torch_image(torch.zeros(1, 3, 512, 512), (20, 30)),
            r"original_image_size is \(20, 30\), but transformed_image is \(512, 512\)",
        ),
        (lambda: RobustPredictor(sam_mini, None, prompts_per_batch=0), "prompts_per_batch is 0"),
    ):
        with pytest.raises(samrot.InputError, match=message):
            call()
    after = predictor.predict(box=np.array([1.0, 1.0, 20.0, 15.0]))
    assert np.array_equal(before[2], after[2])
    predictor.reset_image()
    with pytest.raises(RuntimeError):
        predictor.predict(box=np.zeros(4))


@pytest.mark.parametrize("size_hw", [(48, 64), (41, 64), (33, 33), (5, 7), (1300, 700)])
def test_every_prompt_at_every_turn(size_hw: tuple[int, int]) -> None:
    """On the 1/64-px grid to the bit; elsewhere but for a mask pixel in a thousand."""
    image, predictor = random_photo(11, *size_hw), RobustPredictor(small_sam())
    height, width = size_hw
    corners = np.array([[0.1, 0.2], [0.8, 0.9], [0.4, 0.5], [0.05, 0.1]]) * (width, height)
    box, points = np.split(np.floor(corners * 64) / 64, 2)
    box, labels = box.ravel(), [1, 0]
    mask_input = np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)
    for off_grid in (0.0, 0.003):
        expected: list[object] = []
        for k in range(4):
            predictor.set_image(exact.move_image(image, k))
            turned_box = exact.move_boxes(box + off_grid, k, size_hw)
            turned_points = exact.move_points(points + off_grid, k, size_hw)
            turned_mask = exact.move_masks(mask_input, k)
            found = [
                predictor.predict(box=turned_box),
                predictor.predict(turned_points, labels),
                predictor.predict(turned_points, labels, turned_box, multimask_output=False),
                predictor.predict(turned_points, labels, turned_box, turned_mask),
            ]
            upright = [
                (exact.move_masks(masks, (-k) % 4), scores, exact.move_masks(logits, (-k) % 4))
                for masks, scores, logits in found
            ]
            expected = expected or upright
            for got, want in zip(upright, expected, strict=True):
                if off_grid:
                    assert (got[0] == want[0]).mean() >= 0.999  # type: ignore[index]
                else:
                    for a, b in zip(got, want, strict=True):  # type: ignore[call-overload]
                        assert np.array_equal(a, b)


def same(got: object, expected: object) -> None:
    """What SamPredictor returns: types, shapes, and values to 1e-5."""
    for a, b in zip(got, expected, strict=True):  # type: ignore[call-overload]
        assert type(a) is type(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(48, 64), (64, 41), (33, 33), (5, 7), (700, 1100)])
def test_every_call_of_the_predictor_notebook(size_hw: tuple[int, int], sam_mini: object) -> None:
    """The example notebook's calls, on both predictors."""
    sam = sam_mini.sam  # type: ignore[attr-defined]
    image = random_photo(2, *size_hw)
    height, width = size_hw
    results: list[list[object]] = []
    for predictor in (SamPredictor(sam), RobustPredictor(sam, None)):
        predictor.set_image(image)
        calls: list[object] = []
        point, label = np.array([[width / 2, height / 3]]), np.array([1])
        calls.append(predictor.predict(point_coords=point, point_labels=label))
        mask_input = calls[0][2][np.argmax(calls[0][1]), :, :]  # type: ignore[index]
        calls.append(
            predictor.predict(
                point_coords=point,
                point_labels=label,
                mask_input=mask_input[None, :, :],
                multimask_output=False,
            )
        )
        box = np.array([width // 5, height // 5, width - 1, height - 1])
        calls.append(
            predictor.predict(
                point_coords=None, point_labels=None, box=box[None, :], multimask_output=False
            )
        )
        boxes = torch.tensor([[0, 0, width / 2, height / 2], box.tolist()], device=predictor.device)
        transformed = predictor.transform.apply_boxes_torch(boxes, image.shape[:2])
        calls.append(
            predictor.predict_torch(
                point_coords=None, point_labels=None, boxes=transformed, multimask_output=False
            )
        )
        points = predictor.transform.apply_coords(point, predictor.original_size)
        calls.append(
            predictor.predict_torch(
                torch.as_tensor(points)[:, None], torch.ones(1, 1), return_logits=True
            )
        )
        calls.append((predictor.get_image_embedding(), predictor.features))
        resized = torch.as_tensor(predictor.transform.apply_image(image)).permute(2, 0, 1)[None]
        predictor.set_torch_image(resized, size_hw)
        calls.append(predictor.predict(box=box, return_logits=True))
        predictor.set_torch_image(resized.float() - 0.25, size_hw)
        calls.append(predictor.predict(box=box, return_logits=True))
        assert predictor.input_size == tuple(resized.shape[2:])
        assert predictor.is_image_set
        assert predictor.model is sam
        predictor.reset_image()
        assert not predictor.is_image_set
        assert predictor.features is None
        results.append(calls)
    for got, expected in zip(results[1], results[0], strict=True):
        same(got, expected)


@pytest.mark.parametrize("k", range(1, 4))
def test_torch_calls_commute_with_rotation(k: int, sam_mini: object) -> None:
    size_hw = (90, 61)
    image = random_photo(8, *size_hw)
    boxes = np.array([[3.0, 5.0, 40.0, 70.0], [20.25, 8.0, 60.0, 33.5]])
    points, labels = np.array([[[10.0, 20.0]], [[30.5, 60.0]]]), torch.ones(2, 1)
    predictor, results = RobustPredictor(sam_mini), []
    for turns in (0, k):
        turned_hw = exact.move_size(size_hw, turns)
        transform = predictor.transform
        resized = transform.apply_image(exact.move_image(image, turns))
        pixels = torch.as_tensor(resized).permute(2, 0, 1)[None]
        predictor.set_torch_image(pixels, turned_hw, pose=turns)
        turned_boxes = exact.move_boxes(boxes, turns, size_hw)
        turned_points = exact.move_points(points, turns, size_hw)
        results.append(
            predictor.predict_torch(
                torch.as_tensor(transform.apply_coords(turned_points, turned_hw)),
                labels,
                torch.as_tensor(transform.apply_boxes(turned_boxes, turned_hw)).float(),
                multimask_output=False,
            )
        )
    # PIL resizes in two passes, so that the resized photo itself turns only to rounding.
    agree = (results[1][0] == exact.move_tensor(results[0][0], k)).float().mean()
    assert agree > 0.998
    torch.testing.assert_close(results[1][1], results[0][1], rtol=0, atol=1e-3)


def test_many_prompts_in_bounded_batches(sam_mini: object) -> None:
    image = random_photo(1, 40, 60)
    boxes = np.array([[i, i, i + 20.0, i + 15.0] for i in range(7)])
    few, many = RobustPredictor(sam_mini, prompts_per_batch=3), RobustPredictor(sam_mini)
    few.set_image(image)
    many.set_image(image)
    a, b = (p.predict_prompts(Prompts(boxes_xyxy=boxes), return_logits=True) for p in (few, many))
    assert a.masks.shape == (7, 1, 40, 60)
    torch.testing.assert_close(a.masks, b.masks, rtol=0, atol=1e-5 * float(b.masks.abs().max()))
    none = many.predict_prompts(Prompts(boxes_xyxy=np.zeros((0, 4))), multimask_output=True)
    assert none.masks.shape == (0, 3, 40, 60)
    assert none.low_res_logits.shape == (0, 3, 128, 128)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes")],
)
def test_batches_are_halved_when_memory_runs_out(error: RuntimeError) -> None:
    class Small(ThresholdSegmenter):
        def decode(self, encoding: Encoding, prompts: Prompts, **options: bool) -> Segmentation:
            if len(prompts) > 2:
                raise error
            return super().decode(encoding, prompts, **options)

    image = random_photo(1, 40, 60)
    boxes = np.array([[i, i, i + 20.0, i + 15.0] for i in range(11)])
    results = []
    for segmenter in (Small(), ThresholdSegmenter()):
        predictor = RobustPredictor(segmenter)
        predictor.set_image(image)
        results.append(predictor.predict_prompts(Prompts(boxes_xyxy=boxes)))
    assert torch.equal(results[0].masks, results[1].masks)
    assert torch.equal(results[0].scores, results[1].scores)


def test_other_errors_pass_through() -> None:
    class Broken(ThresholdSegmenter):
        def decode(self, *_: object, **__: object) -> Segmentation:
            raise RuntimeError("broken")

    predictor = RobustPredictor(Broken())
    predictor.set_image(random_photo(1, 8, 9))
    with pytest.raises(RuntimeError, match="broken"):
        predictor.predict(box=np.array([0, 0, 4, 4]))


def test_a_batch_of_images_equals_one_at_a_time(sam_mini: object) -> None:
    images = [random_photo(i, *hw) for i, hw in enumerate(((40, 60), (33, 20), (24, 24)))]
    boxes = [np.array([[1.0, 2.0, 30.0, 30.0], [5, 5, 50, 20]]), np.zeros((0, 4)), [[2, 2, 20, 9]]]
    predictor = RobustPredictor(sam_mini)
    predictor.set_image(images[2])
    before = predictor.predict(box=boxes[2][0], multimask_output=False)
    together = predictor.predict_batch(images, boxes)  # type: ignore[arg-type]
    at_once = predictor.predict_batch(images, boxes, images_per_batch=2)  # type: ignore[arg-type]
    same(predictor.predict(box=boxes[2][0], multimask_output=False), before)
    assert [len(masks) for masks, _, _ in together] == [2, 0, 1]
    assert together[1][0].shape == (0, 1, 33, 20)
    for image, listed, got, batched in zip(images, boxes, together, at_once, strict=True):
        predictor.set_image(image)
        alone = predictor.predict_prompts(Prompts(boxes_xyxy=np.reshape(listed, (-1, 4))))
        for a, b in zip(got, (alone.masks, alone.scores, alone.low_res_logits), strict=True):
            assert np.array_equal(a, b.numpy())
        close(batched, got)
        for i, box in enumerate(listed):
            one = predictor.predict(box=box, multimask_output=False)
            close(tuple(part[i] for part in got), one)


def test_a_batch_with_points_and_progress(sam_mini: object) -> None:
    images = [random_photo(i, *hw) for i, hw in enumerate(((40, 60), (33, 20)))]
    points = [[[[5, 6], [20, 20]], [[30, 30], [1, 1]]], [[[10, 12], [3, 4]]]]
    labels = [[[1, 0], [1, 0]], [[1, 1]]]
    done: list[tuple[int, int]] = []
    predictor = RobustPredictor(sam_mini)
    found = predictor.predict_batch(
        images, point_coords=points, point_labels=labels, progress=lambda *n: done.append(n)
    )
    assert done == [(1, 2), (2, 2)]
    assert [len(masks) for masks, _, _ in found] == [2, 1]
    predictor.set_image(images[0])
    alone = predictor.predict(points[0][1], labels[0][1], multimask_output=False)
    close(tuple(part[1] for part in found[0]), alone)
    with pytest.raises(
        samrot.InputError, match="neither boxes, rotated_boxes nor point_coords are given"
    ):
        predictor.predict_batch(images)
    with pytest.raises(samrot.InputError, match="images are 2 and point_labels 1; expected point"):
        predictor.predict_batch(images, point_coords=points, point_labels=labels[:1])


def test_moving_to_a_device(
    threshold_segmenter: ThresholdSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = RobustPredictor(samrot.load_segmenter("sam_mini", encoder={"channels_last": True}))
    predictor.set_image(random_photo(1, 8, 9))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    box = np.array([1.0, 1, 6, 7])
    before = predictor.predict(box=box)
    assert predictor.to("auto") is predictor
    for part, same in zip(predictor.predict(box=box), before, strict=True):
        assert np.array_equal(part, same)
    with pytest.raises(samrot.InputError, match="device is 'abacus', .* expected cpu, cuda, cuda:"):
        predictor.to("abacus")
    predictor.to("meta")
    embedding = predictor.get_image_embedding(frame="canonical")
    assert embedding.device == torch.device("meta")  # the image came along
    assert predictor.device == predictor.canonicalizer.pixel_mean.device == torch.device("meta")
    squares = torch.zeros(1, 3, 512, 512, device="meta")
    with torch.no_grad():
        assert predictor.segmenter.fast_encoder(squares).device.type == "meta"
    with pytest.raises(samrot.InputError, match="device is 'meta', but threshold runs on cpu only"):
        RobustPredictor(threshold_segmenter).to("meta")
    with pytest.raises(samrot.InputError, match="encoder is .*; expected some of attention, dtype"):
        samrot.load_segmenter("sam_mini", encoder={"speed": "high"})


def close(got: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    """Masks but for a pixel in a thousand, numbers to 1e-5 of the largest."""
    if got[0].size:
        assert (got[0] == expected[0]).mean() > 0.999
    for a, b in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1.0, np.abs(b).max(initial=0)))


def test_what_needs_a_sam_says_so(threshold_segmenter: ThresholdSegmenter) -> None:
    predictor = RobustPredictor(threshold_segmenter)
    for call in (
        lambda: predictor.model,
        lambda: predictor.transform,
        lambda: predictor.predict_torch(None, None),
        lambda: predictor.set_torch_image(torch.zeros(1, 3, 4, 4), (4, 4)),
    ):
        with pytest.raises(samrot.InputError, match="needs a segment_anything model, but"):
            call()
    predictor.set_image(random_photo(0, 9, 12))
    with pytest.raises(samrot.InputError, match="threshold has no image embedding"):
        predictor.get_image_embedding()
    images = [random_photo(0, 9, 12), random_photo(1, 12, 9)]
    found = predictor.predict_batch(images, [np.array([[0, 0, 9, 9]])] * 2)
    assert [masks.shape for masks, _, _ in found] == [(1, 1, 9, 12), (1, 1, 12, 9)]


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
    upright, turned = detector(image), detector(exact.move_image(image, k))
    expected = exact.move_boxes(upright.boxes_xyxy, k, (30, 40))
    assert np.array_equal(turned.boxes_xyxy, expected)
    assert np.array_equal(turned.category_ids, upright.category_ids)


def test_masks_of_a_detector_are_turned_back() -> None:
    def bright(image: np.ndarray) -> samrot.Detections:
        mask = (image > 128).all(axis=2)
        return samrot.Detections(np.zeros((1, 4)), np.ones(1), np.ones(1), mask[None])

    image = random_photo(5, 20, 31)
    expected = (image > 128).all(axis=2)
    for k in range(4):
        found = samrot.canonicalized(bright)(exact.move_image(image, k))
        assert np.array_equal(found.masks[0], exact.move_image(expected, k))  # type: ignore[index]
    small = samrot.Detections(np.zeros((1, 4)), np.ones(1), np.ones(1), np.ones((1, 2, 2), bool))
    with pytest.raises(samrot.InputError, match="returned masks of"):
        samrot.canonicalized(lambda image: small)(image)


def test_canonicalized_detector_must_return_detections() -> None:
    detector = samrot.canonicalized(lambda image: [])  # type: ignore[arg-type, return-value]
    with pytest.raises(samrot.InputError, match=r"returned a list; expected samrot\.Detections"):
        detector(random_photo(0, 8, 8))


def test_detections_are_checked() -> None:
    assert len(samrot.Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0))) == 0
    with pytest.raises(samrot.InputError, match=r"shape \(3,\); expected \(N, 4\)"):
        samrot.Detections(np.zeros(3), np.zeros(1), np.zeros(1))
    with pytest.raises(samrot.InputError, match=r"expected \(1,\) for 1 box"):
        samrot.Detections(np.zeros((1, 4)), np.zeros(2), np.zeros(1))
    with pytest.raises(samrot.InputError, match=r"masks has shape \(2, 3, 3\); expected \(1, "):
        samrot.Detections(np.zeros((1, 4)), np.zeros(1), np.zeros(1), np.zeros((2, 3, 3), bool))
    with pytest.raises(samrot.InputError, match="masks has dtype float64; expected bool"):
        samrot.Detections(np.zeros((1, 4)), np.zeros(1), np.zeros(1), np.zeros((1, 3, 3)))
    with pytest.raises(samrot.InputError, match="NaN or infinity"):
        samrot.Detections(np.full((1, 4), np.nan), np.zeros(1), np.zeros(1))


def test_canonicalized_scores_and_masks() -> None:
    """Scores are the same at every turn, masks move with the photo, to the bit."""
    image = random_photo(7, 30, 41)

    def left_half(image: np.ndarray) -> np.ndarray:
        masks = np.zeros((1, *image.shape[:2]), dtype=bool)
        masks[:, :, : image.shape[1] // 2] = True
        return masks

    def scores(image: np.ndarray) -> list[float]:
        return [float(image[0, 0, 0]), float(image[-1, 0, 1])]

    classify = samrot.canonicalized(scores, output="scores")
    segment = samrot.canonicalized(left_half, output="masks")
    expected, mask = classify(image), segment(image)
    for k in range(1, 4):
        turned = exact.move_image(image, k)
        assert np.array_equal(classify(turned), expected)
        assert np.array_equal(segment(turned), exact.move_masks(mask, k))
    for model, output, message in (
        (left_half, "scores", "expected \\(K,\\) finite scores"),
        (scores, "masks", "expected \\(N, H, W\\) bool"),
    ):
        with pytest.raises(samrot.InputError, match=message):
            samrot.canonicalized(model, output=output)(image)
    with pytest.raises(samrot.InputError, match="output is 'boxes'"):
        samrot.canonicalized(scores, output="boxes")


def test_counts_points_and_dtypes_have_one_rule_each() -> None:
    segmenter = load_segmenter("sam_mini")
    image = random_photo(0, 30, 40)
    predictor = RobustPredictor(segmenter, None)
    for count in (1.5, 0, True, "2"):
        with pytest.raises(InputError, match="images_per_batch is .*; expected a (whole )?number"):
            predictor.predict_batch([image], [np.zeros((0, 4))], images_per_batch=count)
        with pytest.raises(InputError, match="prompts_per_batch is .*; expected a (whole )?number"):
            RobustPredictor(segmenter, None, prompts_per_batch=count)
    predictor.set_image(image)
    with pytest.raises(InputError, match="holds 50000 points in a prompt; expected at most 1024"):
        predictor.predict(np.ones((50_000, 2)), np.ones(50_000))
    boxes = torch.tensor([[8.0, 16.0, 256.0, 320.0]])
    expected = predictor.predict_torch(None, None, boxes)
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int32):
        found = predictor.predict_torch(None, None, boxes.to(dtype))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with pytest.raises(InputError, match="boxes is no array of numbers"):
        predictor.predict_torch(None, None, boxes.to(torch.complex64))
    with pytest.raises(InputError, match="pose is .*True"):
        predictor.set_image(image, pose=np.bool_(True))
