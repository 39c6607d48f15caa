"""What programs written for segment-anything do with its objects, done with samrot's."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import nn

import samrot
from samrot.errors import InputError, NoImageError
from samrot.geometry import exact
from tests.conftest import random_photo, small_sam
from tests.test_docs import blocks

SIZE_HW = (60, 90)
BOX = np.array([10.0, 12.0, 70.0, 40.0])
POINTS, LABELS = np.array([[30.0, 20.0], [60.0, 30.0]]), np.array([1, 0])


@pytest.fixture(scope="module")
def sam() -> Sam:
    return small_sam()


def photo(turns: int) -> np.ndarray:
    return exact.move_image(random_photo(5, *SIZE_HW), turns)


def box_at(turns: int) -> np.ndarray:
    return exact.move_boxes(BOX[None], turns, SIZE_HW)[0]


def set_at(sam: Sam, turns: int) -> samrot.RobustPredictor:
    predictor = samrot.RobustPredictor(sam, None)
    predictor.set_image(photo(turns), pose=turns)
    return predictor


def decode_elsewhere(sam: Sam) -> Callable[..., np.ndarray]:
    """What a labelling tool decodes with: masks, of prompts in pixels, by parts of its own."""
    transform = ResizeLongestSide(sam.image_encoder.img_size)

    def decode(
        embedding: torch.Tensor,
        points: np.ndarray,
        labels: np.ndarray,
        box: np.ndarray,
        size_hw: tuple[int, int],
    ) -> np.ndarray:
        resized = (
            torch.as_tensor(transform.apply_coords(points, size_hw), dtype=torch.float)[None],
            torch.as_tensor(labels, dtype=torch.int)[None],
        )
        boxes = torch.as_tensor(transform.apply_boxes(box[None], size_hw), dtype=torch.float)
        with torch.no_grad():
            sparse, dense = sam.prompt_encoder(points=resized, boxes=boxes, masks=None)
            low, _ = sam.mask_decoder(
                image_embeddings=embedding, image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense,
                multimask_output=True,
            )  # fmt: skip
            input_hw = transform.get_preprocess_shape(*size_hw, transform.target_length)
            masks: np.ndarray = sam.postprocess_masks(low, input_hw, size_hw)[0].numpy() > 0
        return masks

    return decode


@pytest.mark.parametrize("turns", range(4))
def test_an_embedding_with_a_decoder_outside(turns: int, sam: Sam) -> None:
    """As a labelling tool does it: the embedding from here, the decoder from elsewhere."""
    predictor = set_at(sam, turns)
    points = exact.move_points(POINTS, turns, SIZE_HW)
    expected, _, _ = predictor.predict(points, LABELS, box_at(turns), return_logits=True)
    if turns:
        with pytest.raises(InputError, match=f"has pose {turns}; use predict, or get_image_emb"):
            predictor.get_image_embedding()
        with pytest.raises(InputError, match="embedding is that of the canonical image"):
            _ = predictor.features
    embedding = predictor.get_image_embedding(frame="canonical")
    coords, labels, box = predictor.canonical_prompts(points, LABELS, box_at(turns))
    assert coords is not None
    assert labels is not None
    assert box is not None
    assert predictor.canonical_size == SIZE_HW
    assert np.abs(box - BOX).max() < 1e-9
    canonical = decode_elsewhere(sam)(embedding, coords, labels, box, SIZE_HW)
    masks = predictor.user_masks(canonical)
    assert masks.shape == expected.shape
    assert np.array_equal(masks, expected > 0)


def test_the_loop_that_the_document_shows(sam: Sam) -> None:
    predictor = samrot.RobustPredictor(sam, "c4")
    found = []
    for turns in range(4):
        points, box = exact.move_points(POINTS, turns, SIZE_HW), box_at(turns)
        names = {
            "predictor": predictor, "image": photo(turns), "point_coords": points,
            "point_labels": LABELS, "box": box, "decode_elsewhere": decode_elsewhere(sam),
        }  # fmt: skip
        exec(blocks("docs/onnx.md", "python")[0], names)
        masks, _, _ = predictor.predict(points, LABELS, box)
        assert np.array_equal(names["masks"], masks)
        found.append(exact.move_masks(masks, -turns % 4))
    assert all(np.array_equal(masks, found[0]) for masks in found)


def test_embeddings_that_are_kept(sam: Sam) -> None:
    """As a tracker or a viewer does it: many images are encoded once, and gone back to."""
    kept, expected = {}, {}
    predictor = samrot.RobustPredictor(sam, None)
    for turns in (0, 3):
        predictor.set_image(photo(turns), pose=turns)
        expected[turns] = predictor.predict(box=box_at(turns))
        kept[turns] = pickle.dumps(predictor.get_state())
    for turns in (0, 3):
        predictor.set_state(pickle.loads(kept[turns]))
        assert predictor.pose == turns
        for got, wanted in zip(predictor.predict(box=box_at(turns)), expected[turns], strict=True):
            assert np.array_equal(got, wanted)
    for name, value in (
        ("features", torch.zeros(1, 256, 64, 64)), ("original_size", SIZE_HW),
        ("input_size", SIZE_HW), ("is_image_set", True),
    ):  # fmt: skip
        with pytest.raises(InputError, match=rf"{name} cannot be assigned: .*set_state"):
            setattr(predictor, name, value)
    with pytest.raises(InputError, match="state is a dict; expected what predictor.get_state"):
        predictor.set_state({})  # type: ignore[arg-type]
    assert predictor.is_image_set
    predictor.features = None
    assert not predictor.is_image_set
    with pytest.raises(NoImageError):
        predictor.get_state()


class Vendored(nn.Module):
    """A Sam of another package: the same parts."""

    mask_threshold = 0.0

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.image_encoder = sam.image_encoder
        self.prompt_encoder = sam.prompt_encoder
        self.mask_decoder = sam.mask_decoder
        self.preprocess, self.postprocess_masks = sam.preprocess, sam.postprocess_masks
        self.image_format, self.device = sam.image_format, sam.device


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, Vendored, lambda sam: nn.DataParallel(Vendored(sam))]
)
def test_models_that_are_wrapped_or_of_another_package(wrap: Any, sam: Sam) -> None:
    plain = SamPredictor(sam)
    plain.set_image(photo(0))
    predictor = samrot.RobustPredictor(wrap(sam), None)
    predictor.set_image(photo(0))
    for got, wanted in zip(predictor.predict(box=BOX), plain.predict(box=BOX), strict=True):
        assert np.array_equal(got, wanted)


def test_a_decoder_that_takes_more_is_refused(sam: Sam) -> None:
    class Decoder(nn.Module):
        def forward(
            self, image_embeddings: Any, image_pe: Any, sparse_prompt_embeddings: Any,
            dense_prompt_embeddings: Any, multimask_output: Any, interm_embeddings: Any,
        ) -> None: ...  # fmt: skip

    other = Vendored(sam)
    other.mask_decoder = Decoder()
    with pytest.raises(InputError, match=r"segmenter is a tests\.clients\.test_clients\.Vendored;"):
        samrot.RobustPredictor(other)  # type: ignore[arg-type]


def test_inspection_before_an_image_is_set(sam: Sam) -> None:
    predictor = samrot.RobustPredictor(sam, None)
    assert not hasattr(predictor, "original_size")
    assert not hasattr(predictor, "pose")
    assert predictor.features is None
    assert "predict" in dict(inspect.getmembers(predictor))
    create_autospec(predictor)


@pytest.mark.parametrize("box", [BOX.tolist(), BOX[None], [BOX.tolist()], torch.tensor(BOX)[None]])
def test_boxes_as_they_come(box: Any, sam: Sam) -> None:
    predictor = set_at(sam, 0)
    expected = predictor.predict(box=BOX)
    for got, wanted in zip(predictor.predict(box=box), expected, strict=True):
        assert np.array_equal(got, wanted)


def test_boxes_that_were_not_resized_are_named_as_they_were_given(sam: Sam) -> None:
    predictor = samrot.RobustPredictor(sam, None)
    predictor.set_image(random_photo(1, 1024, 1600))
    beside = torch.tensor([[1200.0, 300.0, 1500.0, 900.0]])  # beside the 256 pixels of the input
    with pytest.raises(InputError, match=r"box \[1200.0, 300.0, .*apply_boxes_torch"):
        predictor.predict_torch(None, None, beside)


OPTIONS = {"points_per_side": 2, "pred_iou_thresh": -9.0, "stability_score_thresh": 0.0}


def test_attributes_of_the_mask_generator(sam: Sam) -> None:
    robust = samrot.RobustMaskGenerator(sam, canonicalizer="c4", **OPTIONS)  # type: ignore[arg-type]
    plain = SamAutomaticMaskGenerator(sam, **OPTIONS)
    assert robust.points_per_batch == plain.points_per_batch
    assert robust.pred_iou_thresh == -9
    assert isinstance(robust.predictor, samrot.RobustPredictor)
    assert robust.predictor.canonicalizer is robust.canonicalizer
    image = photo(0)
    assert len(robust.generate(image, pose=0)) == len(plain.generate(image)) > 0
    robust.pred_iou_thresh = plain.pred_iou_thresh = 99.0
    assert robust.generator.pred_iou_thresh == 99
    with pytest.warns(UserWarning, match="pred_iou_thresh is 99, but the best value"):
        assert robust.generate(image, pose=0) == plain.generate(image) == []
    with pytest.raises(AttributeError, match="RobustMaskGenerator has no attribute 'threshold'|"):
        _ = robust.threshold
    robust.canonicalizer = None
    assert robust.canonicalizer is None
    pickle.loads(pickle.dumps(robust.generator.point_grids))


@pytest.mark.filterwarnings("always::UserWarning")
def test_crops_in_which_nothing_passes(sam: Sam) -> None:
    nothing = {**OPTIONS, "pred_iou_thresh": 99.0, "crop_n_layers": 1}
    robust = samrot.RobustMaskGenerator(sam, canonicalizer=None, **nothing)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="nothing was found in the image"):
        assert robust.generate(photo(0)) == []
