"""What holds for every segmenter that needs no download; a new one gets these tests for free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from samrot import InputError, load_segmenter
from samrot.segmenters import SEGMENTERS, Encoding, Prompts, Segmenter, move_encoding
from samrot.segmenters.memo import MemoSegmenter
from samrot.segmenters.sam_family import find_builder
from samrot.weights import OTHER_SAMS
from tests.conftest import ThresholdSegmenter

NEED_FILES = ("sam_vit_b", "sam_vit_l", "sam_vit_h", *OTHER_SAMS, "transformers")
# Random weights, in the official format.
SMALL_FILES = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("mobile_sam", "sam_hq_vit_tiny", "efficientvit_sam_l0")
]
OFFLINE = [name for name in SEGMENTERS if name not in NEED_FILES]
BOXES = np.array([[10.0, 12.0, 50.0, 44.0], [-5.0, -5.0, 30.0, 90.0], [60.0, 40.0, 62.0, 41.0]])


def disc_photo() -> np.ndarray:
    """A bright disc on a dark ground."""
    y, x = np.mgrid[:56, :72]
    image = np.full((56, 72, 3), (40, 60, 50), dtype=np.uint8)
    image[(x - 30) ** 2 + (y - 28) ** 2 < 14**2] = (230, 200, 60)
    noise = np.random.default_rng(0).integers(0, 12, image.shape, dtype=np.uint8)
    return image + noise


def random_official(name: str, folder: Path) -> Path:
    """The official file of a SAM, with random weights."""
    package = OTHER_SAMS[name].builder.partition(".")[0]
    pytest.importorskip(package, reason=f"{package} is not installed")
    torch.manual_seed(0)
    path = folder / OTHER_SAMS[name].file_name
    torch.save(find_builder(name)().state_dict(), path)
    return path


@pytest.fixture(scope="module", params=[*OFFLINE, *SMALL_FILES])
def segmenter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Segmenter:
    if request.param in OFFLINE:
        return load_segmenter(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return load_segmenter(request.param, checkpoint=random_official(request.param, folder))


def test_shapes_and_types_and_the_same_answer_again(segmenter: Segmenter) -> None:
    photo = disc_photo()
    kept, boxes = photo.copy(), BOXES.copy()
    masks = []
    for logits in (False, True):
        encoding = segmenter.encode(photo)
        assert encoding.size_hw == (56, 72)
        result = segmenter.decode(encoding, Prompts(boxes_xyxy=boxes), return_logits=logits)
        assert result.masks.shape == (3, 1, 56, 72)
        assert result.masks.dtype == (torch.float32 if logits else torch.bool)
        assert result.scores.shape == (3, 1)
        side = result.low_res_logits.shape[-1]
        assert result.low_res_logits.shape == (3, 1, side, side)
        masks.append(result.masks > 0)
    assert torch.equal(*masks)
    assert np.array_equal(photo, kept)
    assert np.array_equal(boxes, BOXES)


@pytest.mark.parametrize("name", OFFLINE)
def test_finds_the_disc(name: str) -> None:
    segmenter = load_segmenter(name)
    box = np.array([[16.0, 14.0, 45.0, 43.0]])
    encoding = segmenter.encode(disc_photo())
    mask = segmenter.decode(encoding, Prompts(boxes_xyxy=box)).masks[0, 0].numpy()
    y, x = np.mgrid[:56, :72]
    disc = (x - 30) ** 2 + (y - 28) ** 2 < 14**2
    assert (mask & disc).sum() / (mask | disc).sum() > 0.7


@pytest.mark.parametrize("name", OFFLINE)
def test_memo_answers_by_content(name: str) -> None:
    segmenter = load_segmenter(name)
    memo, photo = MemoSegmenter(segmenter), disc_photo()
    encoding = memo.encode(photo)
    assert memo.encode(photo.copy()) is encoding
    changed = photo.copy()
    changed[0, 0, 0] ^= 1
    assert memo.encode(changed) is not encoding
    assert memo.encode(np.ascontiguousarray(photo.reshape(72, 56, 3))) is not encoding
    result = memo.decode(encoding, Prompts(boxes_xyxy=BOXES))
    assert memo.decode(encoding, Prompts(boxes_xyxy=BOXES.copy())) is result
    assert memo.decode(encoding, Prompts(boxes_xyxy=BOXES + 1)) is not result
    assert torch.equal(result.masks, segmenter.decode(encoding, Prompts(boxes_xyxy=BOXES)).masks)
    memo.clear_segmentations()
    assert memo.encode(photo) is encoding
    assert memo.decode(encoding, Prompts(boxes_xyxy=BOXES)) is not result
    memo.clear()
    assert memo.encode(photo) is not encoding


def test_memo_does_not_mistake_one_encoding_for_another() -> None:
    """Where an encoding lies in memory says nothing: one that was let go makes room for others."""
    memo = MemoSegmenter(ThresholdSegmenter())
    first, second = disc_photo(), disc_photo()[:, ::-1]
    expected = memo.decode(memo.encode(first), Prompts(boxes_xyxy=BOXES)).masks
    memo._encodings.clear()
    found = memo.decode(memo.encode(second), Prompts(boxes_xyxy=BOXES)).masks
    assert not torch.equal(found, expected)
    again = memo.decode(memo.encode(first.copy()), Prompts(boxes_xyxy=BOXES)).masks
    assert torch.equal(again, expected)


class CountingSegmenter(ThresholdSegmenter):
    """Notes the size of each batch; runs out of memory above ``most``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.batches: list[int] = []

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoding]:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(images))
        return [self.encode(image) for image in images]


@pytest.mark.parametrize(("most", "batches"), [(9, [4, 2]), (3, [2, 2, 2])])
def test_memo_encodes_what_is_new_in_batches(most: int, batches: list[int]) -> None:
    photos = [np.roll(disc_photo(), shift, axis=0) for shift in (0, 1, 2, 0, 3, 4, 5, 1)]
    segmenter = CountingSegmenter(most)
    memo = MemoSegmenter(segmenter, images_per_batch=4)
    encodings = memo.encode_batch(photos)
    assert segmenter.batches == batches
    assert encodings[3] is encodings[0]
    for photo, encoding in zip(photos, encodings, strict=True):
        assert np.array_equal(encoding.features, segmenter.encode(photo).features)
    assert memo.encode_batch(photos) == encodings
    assert segmenter.batches == batches


@pytest.mark.parametrize("name", ["grabcut", "box"])
def test_boxes_only(name: str) -> None:
    segmenter = load_segmenter(name)
    encoding = segmenter.encode(disc_photo())
    points = Prompts(point_coords=np.zeros((1, 1, 2)), point_labels=np.ones((1, 1)))
    with pytest.raises(InputError, match=f"{name} takes box prompts only"):
        segmenter.decode(encoding, points)
    with pytest.raises(InputError, match=f"{name} has no weights"):
        load_segmenter(name, checkpoint="x.pth")


def test_an_encoding_is_moved_whatever_its_structure() -> None:
    tensor = torch.zeros(2)
    features = {"scales": [tensor, (tensor, 3)], "photo": np.zeros(2), "none": None}
    moved = move_encoding(Encoding((4, 5), features), "meta")
    first, (second, number) = moved.features["scales"]
    assert first.device == second.device == torch.device("meta")
    assert (moved.size_hw, number, moved.features["none"]) == ((4, 5), 3, None)
    assert moved.features["photo"] is features["photo"]
    assert tensor.device == torch.device("cpu")
