"""Whatever goes into the predictor: a result in the right frame, or one documented error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import samrot
from samrot.geometry import exact
from tests.conftest import ThresholdSegmenter, random_photo
from tests.fuzz.inputs import examples, outcome

NUMBERS = st.one_of(
    st.floats(-20, 80), st.floats(allow_nan=True, allow_infinity=True), st.integers(-5, 60)
)
DTYPES = st.sampled_from([np.uint8, np.int32, np.float32, np.float64, bool])
ARRAYS = hnp.arrays(
    dtype=DTYPES, shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)
)
JUNK = st.one_of(
    st.none(), st.text(max_size=3), st.integers(), st.lists(NUMBERS, max_size=5), ARRAYS
)


@pytest.fixture(scope="module")
def predictor() -> samrot.RobustPredictor:
    """Set to a photo, (30, 40, 3), and it stays so."""
    predictor = samrot.RobustPredictor(samrot.load_segmenter("sam_mini"), prompts_per_batch=2)
    predictor.set_image(random_photo(1, 30, 40))
    return predictor


@pytest.fixture(scope="module")
def canonicalizer() -> samrot.Canonicalizer:
    return samrot.load_canonicalizer("c4")


@given(image=JUNK, image_format=st.one_of(st.sampled_from(["RGB", "BGR"]), st.text(max_size=3)))
@examples(40)
def test_images(image: Any, image_format: str, canonicalizer: samrot.Canonicalizer) -> None:
    predictor = samrot.RobustPredictor(ThresholdSegmenter(), canonicalizer)
    predictor.set_image(random_photo(0, 4, 5))
    outcome(lambda: predictor.set_image(image, image_format))
    accepted = (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size > 0
        and image_format in ("RGB", "BGR")
    )
    assert predictor.original_size == (image.shape[:2] if accepted else (4, 5))


@given(
    coords=st.one_of(JUNK, hnp.arrays(float, (2, 2), elements=NUMBERS)),
    labels=st.one_of(JUNK, hnp.arrays(int, 2, elements=st.integers(-2, 3))),
    box=st.one_of(JUNK, hnp.arrays(float, 4, elements=NUMBERS)),
    mask_input=st.one_of(JUNK, st.just(np.zeros((1, 128, 128), np.float32))),
)
@examples(40)
def test_prompts(
    coords: Any, labels: Any, box: Any, mask_input: Any, predictor: samrot.RobustPredictor
) -> None:
    found = outcome(lambda: predictor.predict(coords, labels, box, mask_input, False))
    assert predictor.original_size == (30, 40)
    if found is not None:
        masks, scores, logits = found
        assert masks.shape == (1, 30, 40)
        assert masks.dtype == bool
        assert np.isfinite(scores).all()
        assert logits.shape == (1, 128, 128)


@pytest.mark.slow
@given(
    boxes=hnp.arrays(
        float,
        st.tuples(st.integers(0, 4), st.just(4)),
        elements=st.integers(0, 64 * 30).map(lambda n: n / 64),
    ),
    k=st.integers(0, 3),
    height=st.integers(31, 40),
    width=st.integers(31, 40),
)
@examples(15)
def test_boxes_on_the_grid_commute_to_the_bit(
    boxes: np.ndarray, k: int, height: int, width: int
) -> None:
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    predictor = samrot.RobustPredictor(ThresholdSegmenter())
    image = random_photo(2, height, width)
    predictor.set_image(image)
    if len(boxes) == 0:
        return
    (upright,) = predictor.predict_batch([image], [boxes])
    turned_boxes = exact.move_boxes(boxes, k, (height, width))
    (turned,) = predictor.predict_batch([exact.move_image(image, k)], [turned_boxes])
    assert np.array_equal(turned[0], exact.move_masks(upright[0], k))
    assert np.array_equal(turned[1], upright[1])


PHOTOS = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda hw: random_photo(3, *hw))
BOXES = hnp.arrays(float, st.tuples(st.integers(0, 3), st.just(4)), elements=NUMBERS)


@given(
    images=st.lists(st.one_of(PHOTOS, PHOTOS, JUNK), max_size=2),
    boxes=st.lists(st.one_of(BOXES, BOXES, JUNK), max_size=2),
)
@examples(40)
def test_batches(images: Any, boxes: Any, predictor: samrot.RobustPredictor) -> None:
    found = outcome(lambda: predictor.predict_batch(images, boxes))
    if found is not None:
        assert len(found) == len(images) == len(boxes)
        for image, listed, (masks, scores, _) in zip(images, boxes, found, strict=True):
            assert masks.shape == (len(listed), 1, *image.shape[:2])
            assert np.isfinite(scores).all()


@given(
    coords=st.one_of(JUNK, hnp.arrays(float, (2, 1, 2), elements=NUMBERS).map(torch.as_tensor)),
    labels=st.one_of(JUNK, hnp.arrays(int, (2, 1), elements=st.integers(-2, 3))),
    boxes=st.one_of(JUNK, BOXES.map(torch.as_tensor)),
)
@examples(40)
def test_torch_prompts(
    coords: Any, labels: Any, boxes: Any, predictor: samrot.RobustPredictor
) -> None:
    found = outcome(lambda: predictor.predict_torch(coords, labels, boxes, None, False))
    if found is not None:
        masks, scores, _ = found
        assert masks.shape[1:] == (1, 30, 40)
        assert torch.isfinite(scores).all()


@given(
    shape=st.sampled_from([(1, 3, 512, 384), (1, 3, 9, 9), (3, 512, 512), (1, 3, 512)]),
    value=st.sampled_from([0.0, 255.0, -3.0, 1e9, np.nan, np.inf]),
    size=st.one_of(st.just((40, 30)), st.tuples(st.integers(0, 3), st.integers(0, 3))),
)
@examples(30)
def test_torch_images(
    shape: tuple[int, ...], value: float, size: tuple[int, int], predictor: samrot.RobustPredictor
) -> None:
    other = samrot.RobustPredictor(predictor.segmenter, predictor.canonicalizer)
    pixels = torch.full(shape, 7.0)
    pixels[..., -1] = value
    done = outcome(lambda: [other.set_torch_image(pixels, size)])
    assert other.is_image_set == (done is not None)
