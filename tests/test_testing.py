"""The public law test passes what commutes, and fails what does not: where, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samrot import Detections, InputError, Pose, canonicalized
from samrot.canonicalizers import BUNDLED, Canonicalizer, Thumbnail, load_canonicalizer
from samrot.geometry.groups import C4, C8, D4, FiniteGroup
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import SEGMENTERS, load_segmenter
from samrot.testing import SIZES_HW, assert_commutes
from samrot.weights import OFFICIAL_SAM, OTHER_SAMS
from tests.conftest import ThresholdSegmenter, random_photo, small_d4

NEED_FILES = {*OFFICIAL_SAM, *OTHER_SAMS, "transformers"}
LIGHT = [name for name in SEGMENTERS if name not in NEED_FILES]


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_bundled_segmenters_commute(name: str) -> None:
    assert_commutes(RobustPredictor(load_segmenter(name)), C4)
    assert_commutes(
        RobustPredictor(load_segmenter(name), small_d4()), D4, image=random_photo(0, 40, 63)
    )


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_canonicalizers_commute(name: str) -> None:
    canonicalizer = load_canonicalizer(name)
    assert_commutes(canonicalizer, canonicalizer.group, image=random_photo(0, 44, 63))


def test_what_does_not_commute_is_caught(threshold_segmenter: ThresholdSegmenter) -> None:
    robust = RobustPredictor(threshold_segmenter, edges())
    assert_commutes(robust, C4)
    with pytest.raises(
        AssertionError,
        match=r"^masks do not commute with element 90 of C4: \d+ of 10080 values differ, at "
        r"\(0, 0, \d+, \d+\) first: (True|False), expected (True|False); on noise of 60 x 84; nor "
        "with 180, 270$",
    ):
        assert_commutes(RobustPredictor(threshold_segmenter, None), C4)
    with pytest.raises(AssertionError, match="do not commute with element m0 of D4"):
        assert_commutes(robust, D4)


class Edges(nn.Module):
    """Evidence for the edge that is bright; obeys the law of C4 but for what is added."""

    def __init__(self, bias: float = 0.0, sense: int = -1) -> None:
        super().__init__()
        self.bias, self.sense = bias, sense

    def forward(self, images: Tensor) -> Tensor:
        moved = [images.rot90(self.sense * k, (-2, -1)) for k in range(4)]
        evidence = torch.stack([image[..., :3, :].mean((1, 2, 3)) for image in moved], dim=1)
        return evidence + self.bias * torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=images.dtype)


def edges(**options: Any) -> Canonicalizer:
    return Canonicalizer(Edges(**options), Thumbnail(16), mirror_average=False)


class RightEvidenceWrongPose(Canonicalizer):
    """Its poses do not follow from its evidence."""

    def estimate(self, image: np.ndarray) -> Pose:
        return Pose(0)


class TiltOfTheView(Canonicalizer):
    """The tilt that it reports depends on how the photo lies."""

    def estimate(self, image: np.ndarray) -> Pose:
        return Pose(super().estimate(image).element, 5.0 if image.shape[0] < 50 else 7.0)


class FiveValues(Canonicalizer):
    def logits(self, image: np.ndarray) -> Tensor:
        return torch.zeros(5)


class IntegerCrop(Thumbnail):
    """Half a pixel off where height and width differ in parity: photos of other sizes are right."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return super().__call__(image[top : top + side, left : left + side])


def test_a_canonicalizer_that_obeys_passes() -> None:
    assert_commutes(edges())
    assert_commutes(edges().double())
    assert_commutes(edges(), image=random_photo(3, 20, 31))
    assert_commutes(small_d4(), D4)
    assert_commutes(small_d4(), C4)


@pytest.mark.parametrize(
    ("build", "group", "message"),
    [
        (
            lambda: edges(bias=0.25),
            C4,
            r"^evidence or pose does not commute with element 90 of C4: its evidence for (0|90) is "
            r"[-\d.]+, expected [-\d.]+; off by 0\.25, more than 0\.0001; on noise of 60 x 84; nor "
            "with 180, 270$",
        ),
        # The other sense: right at the half turn, which is its own inverse.
        (lambda: edges(sense=1), C4, "element 90 of C4: .*; on noise of 60 x 84; nor with 270$"),
        (
            lambda: RightEvidenceWrongPose(Edges(), Thumbnail(16), mirror_average=False),
            C4,
            "element 90 of C4: its pose is 0 tilted by 0 degrees, expected 90 tilted by 0; on nois",
        ),
        (
            lambda: TiltOfTheView(Edges(), Thumbnail(16), mirror_average=False),
            C4,
            r"(pose is \d+ tilted by 7 degrees, expected \d+ tilted by 5; on noise of 40 x 63)",
        ),
        (
            lambda: Canonicalizer(Edges(), IntegerCrop(16), mirror_average=False),
            C4,
            r"element 90 of C4: its evidence .*; on noise of 40 x 63; nor with ",
        ),
        (edges, D4, "element m0 of D4: it is none of C4, its evidence's; on noise of 60 x 84; nor"),
    ],
)
def test_a_canonicalizer_that_breaks_the_law(
    build: Callable[[], Canonicalizer], group: FiniteGroup, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_commutes(build(), group)


def test_a_small_violation_is_seen_in_double_alone() -> None:
    assert_commutes(edges(bias=1e-5))
    with pytest.raises(AssertionError, match="off by 1e-05, more than 1e-10"):
        assert_commutes(edges(bias=1e-5).double())
    assert_commutes(edges(bias=1e-5).double(), tolerance=1e-4)
    with pytest.raises(AssertionError, match="more than 1e-07"):
        assert_commutes(edges(bias=1e-5), tolerance=1e-7)


def test_a_symmetric_photo_has_no_pose_to_compare() -> None:
    """A pixel, and a photo of one colour, are upright in every turn."""
    for size in ((1, 1), (24, 24)):
        photo = np.full((*size, 3), 80, dtype=np.uint8)
        assert_commutes(edges(), image=photo)
        assert_commutes(first_row, image=photo)
        with pytest.raises(AssertionError, match="its evidence for"):
            assert_commutes(edges(bias=1.0), image=photo)


def bright(image: np.ndarray) -> Detections:
    """The box and the mask of what is brighter than grey, and of its first row."""
    mask = image.min(axis=2) > 128
    y, x = np.nonzero(mask) if mask.any() else (np.zeros(1, int), np.zeros(1, int))
    box = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    row = [x.min(), y.min(), x.max() + 1, y.min() + 0.3]
    return Detections([box, row], [0.9, 0.2], [1, 2], np.stack([mask, mask & (image[..., 0] > 9)]))


def first_row(image: np.ndarray) -> np.ndarray:
    masks = np.zeros((1, *image.shape[:2]), dtype=bool)
    masks[:, 0] = True
    return masks


MODELS: list[tuple[str, Callable[[np.ndarray], Any], str]] = [
    ("detections", bright, r"^boxes do .*: box 1 is \[.*\], expected \[.*\]; off by [\d.]+ px; on"),
    ("masks", first_row, r"^masks do .* element 90 .*: 142 of 5040 values differ, at \(0, 0, 1\)"),
    ("scores", lambda image: image[0].mean(axis=0), r"^scores do .*: 3 of 3 values differ, at \(0"),
]


@pytest.mark.parametrize(("output", "model", "message"), MODELS)
def test_what_canonicalized_gives_commutes(
    output: str, model: Callable[[np.ndarray], Any], message: str
) -> None:
    assert_commutes(canonicalized(model, edges(), output=output))
    assert_commutes(canonicalized(model, small_d4(), output=output), D4)
    with pytest.raises(AssertionError, match=message):
        assert_commutes(model)
    with pytest.raises(AssertionError, match=message):
        assert_commutes(canonicalized(model, edges(bias=50.0), output=output))


def test_answers_of_another_shape_or_kind() -> None:
    def fewer(image: np.ndarray) -> Detections:
        return bright(image) if image.shape[0] < image.shape[1] else Detections.none()

    with pytest.raises(AssertionError, match="kinds of answer do not commute with element 90 of"):
        assert_commutes(fewer)
    with pytest.raises(AssertionError, match=r"scores do .*: their shape is \(84,\), expected \(6"):
        assert_commutes(lambda image: image[:, 0, 0] * 0)
    with pytest.raises(AssertionError, match="scores do .* nan, expected nan"):
        assert_commutes(lambda image: np.array([np.nan]))


def test_refusals() -> None:
    def refuse(image: np.ndarray) -> np.ndarray:
        raise InputError("never")

    def refuse_small(image: np.ndarray) -> np.ndarray:
        if min(image.shape[:2]) < 30:
            raise InputError("too small")
        return image.mean((0, 1)).round(6)

    def refuse_high(image: np.ndarray) -> np.ndarray:
        if image.shape[0] > image.shape[1]:
            raise InputError("too high")
        return np.zeros(3)

    with pytest.raises(InputError, match="never"):
        assert_commutes(refuse)
    assert_commutes(refuse_small)
    with pytest.raises(
        AssertionError, match="refusals do .* 90 of C4: .* refused moved alone .too"
    ):
        assert_commutes(refuse_high)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": edges(), "group": C8}, "group is C8, whose elements resample a photo; expected"),
        ({"model": bright, "tolerance": 0.1}, "tolerance is 0.1, but only a canonicalizer's evid"),
        ({"model": edges(), "boxes_xyxy": np.zeros((1, 4))}, "a canonicalizer takes none; leave"),
        ({"model": lambda image: "cat"}, r"the model gives str \(.*\); expected samrot.Detections"),
        ({"model": edges(), "image": np.zeros((4, 4))}, r"expected \(H, W, 3\)"),
        (
            {"model": FiveValues(Edges(), Thumbnail(16), mirror_average=False)},
            r"the evidence has shape \(5,\); expected \(4,\), a value for each element of C4",
        ),
    ],
)
def test_arguments_that_are_off(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        assert_commutes(**arguments)


def test_the_photos_that_are_drawn() -> None:
    """Even, odd and mixed sizes, not square, a pixel."""
    parities = {(height % 2, width % 2) for height, width in SIZES_HW}
    assert {(0, 0), (1, 1), (0, 1)} <= parities
    assert (1, 1) in SIZES_HW
    assert any(height != width for height, width in SIZES_HW)
