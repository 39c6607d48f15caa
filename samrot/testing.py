"""The law as a public tool: does a model, or what is built around it, commute with a group?

Convention: a model f commutes with a group if f(g x) = g f(x) for its elements g: evidence for
poses is permuted, poses are composed, masks and boxes are moved, scores of classes stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.canonicalizers.law import exact_elements, law_violations
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.geometry.groups import C4, FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.predictor import RobustPredictor
from samrot.structures.detections import Detections
from samrot.structures.image import check_image

# (height, width) of the photos that are drawn: even, odd, mixed, small, a strip, a pixel.
SIZES_HW = ((60, 84), (33, 33), (40, 63), (7, 5), (3, 11), (1, 1))
# Boxes that are moved there and back differ by rounding alone, in pixels.
_BOX_TOLERANCE = 1e-6
_REFUSALS = "refusals"

Model = Canonicalizer | RobustPredictor | Callable[[np.ndarray], Any]


def assert_commutes(
    model: Model,
    group: FiniteGroup = C4,
    *,
    image: np.ndarray | None = None,
    boxes_xyxy: np.ndarray | None = None,
    tolerance: float | None = None,
) -> None:
    """Fail unless what a model says of a moved photo is, moved, what it says of the photo.

    Of a ``samrot.Canonicalizer`` evidence(g x)[h] = evidence(x)[g^-1 h], to rounding, and poses,
    exactly. Of a ``samrot.RobustPredictor`` masks and scores, to the bit. Of a callable, as
    ``samrot.canonicalized`` gives, what it returns: scores, (K,), stay; masks, (N, H, W) bool, are
    moved; and so are those of ``samrot.Detections``, whose boxes may be off by 1e-6 px.

    A photo that is itself symmetric, as a pixel, has no one pose: there evidence alone is compared,
    and of other models that they take the photo at every element. A photo that the model refuses
    by an ``InputError`` is to be refused at every element too.

    Args:
        model: model that is to commute.
        group: C4 or D4; of a canonicalizer, within its own.
        image: x, (H, W, 3) uint8 RGB; None draws noise with a bright patch, always the same: of
            even, odd, mixed and small sizes, a strip and a pixel (``SIZES_HW``).
        boxes_xyxy: prompts of a predictor, (N, 4), pixels of that image, on the grid of 1/64 px;
            None takes two boxes.
        tolerance: largest difference of a canonicalizer's evidence, relative to its largest value
            and at least 1; None: 1e-10 for float64, 1e-4 for float32. Nothing else has any.

    Raises:
        AssertionError: naming the element, what does not commute, on which photo, where first, and
            by how much.
        InputError: if an argument is off, the group resamples, or the model gives something else,
            or refuses every photo.
    """
    if not group.is_exact:
        raise InputError(
            f"group is {group.name}, whose elements resample a photo; expected C4 or D4"
        )
    if isinstance(model, Canonicalizer):
        if boxes_xyxy is not None:
            raise InputError("boxes_xyxy is given, but a canonicalizer takes none; leave it out")
    elif tolerance is not None:
        raise InputError(
            f"tolerance is {tolerance}, but only a canonicalizer's evidence has one; leave it out"
        )
    refusals: list[InputError | None] = []
    for name, photo in _photos(image):
        if isinstance(model, Canonicalizer):
            found = _of_canonicalizer(model, group, photo, tolerance)
        else:
            size_hw = (photo.shape[0], photo.shape[1])
            boxes = _boxes(size_hw) if boxes_xyxy is None else boxes_xyxy
            upright = _answer(model, photo, boxes)
            refusals.append(upright.refusal)
            found = _of_answers(model, group, photo, boxes, upright)
        first = next(found, None)
        if first is not None:
            others = dict.fromkeys(v.element for v in found if v.element != first.element)
            more = f"; nor with {', '.join(others)}" if others else ""
            raise AssertionError(
                f"{first.what} not commute with element {first.element} of {group.name}: "
                f"{first.difference}; on {name}{more}"
            )
    refused = [refusal for refusal in refusals if refusal is not None]
    if refused and len(refused) == len(refusals):
        raise refused[0]


class _Violation(NamedTuple):
    """What does not commute.

    Args:
        what: begin of a sentence, as ``masks do``.
        element: name of the element.
        difference: where, and by how much.
    """

    what: str
    element: str
    difference: str


@dataclass(frozen=True)
class _Answer:
    """What a model says of a photo, by how it moves with the photo.

    Args:
        moved: name -> masks, (..., H, W) bool.
        kept: name -> values that stay.
        boxes_xyxy: (N, 4); None where there are none.
        refusal: why the photo is refused; None where it is not.
    """

    moved: dict[str, np.ndarray] = field(default_factory=dict)
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    boxes_xyxy: np.ndarray | None = None
    refusal: InputError | None = None


def _photos(image: np.ndarray | None) -> Iterator[tuple[str, np.ndarray]]:
    """The photos that are tried, each with its name."""
    if image is not None:
        check_image(image)
        yield f"the image given, {image.shape[0]} x {image.shape[1]}", image
        return
    for height, width in SIZES_HW:
        noise = np.random.default_rng(0).integers(0, 160, (height, width, 3), dtype=np.uint8)
        noise[height // 5 : height // 2, width // 4 : 1 + width * 5 // 7] += 90
        yield f"noise of {height} x {width}", noise


def _of_canonicalizer(
    model: Canonicalizer, group: FiniteGroup, image: np.ndarray, tolerance: float | None
) -> Iterator[_Violation]:
    for violation in law_violations(model, image, group, tolerance=tolerance):
        yield _Violation("evidence or pose does", *violation)


def _of_answers(
    model: Model, group: FiniteGroup, image: np.ndarray, boxes_xyxy: np.ndarray, upright: _Answer
) -> Iterator[_Violation]:
    size_hw, is_symmetric = (image.shape[0], image.shape[1]), _is_symmetric(image, group)
    for g, element in exact_elements(group).items():
        move = PlaneTransform.from_pose(Pose(element), size_hw)
        answer = _answer(model, move_image(image, element), move.boxes(boxes_xyxy))
        for what, difference in _differences(upright, answer, move):
            if is_symmetric and what != _REFUSALS:
                continue
            yield _Violation(f"{what} do", group.names[g], difference)


def _answer(model: Any, image: np.ndarray, boxes_xyxy: np.ndarray) -> _Answer:
    """What a predictor or callable says of a photo; a refusal is an answer too.

    Raises:
        InputError: if it is of no kind that is known.
    """
    try:
        if isinstance(model, RobustPredictor):
            ((masks, scores, _),) = model.predict_batch([image], [boxes_xyxy])
            return _Answer({"masks": masks}, {"scores": scores})
        result = model(image)
    except InputError as error:
        return _Answer(refusal=error)
    if isinstance(result, Detections):
        masks_of = {} if result.masks is None else {"masks": result.masks}
        kept = {"scores": result.scores, "categories": result.category_ids}
        return _Answer(masks_of, kept, result.boxes_xyxy)
    array = np.asarray(result)
    if array.ndim == 3 and array.dtype == bool:
        return _Answer({"masks": array})
    if array.ndim == 1 and array.dtype.kind in "fiu":
        return _Answer(kept={"scores": array})
    raise InputError(
        f"the model gives {type(result).__name__} ({array.dtype}, {array.shape}); expected "
        "samrot.Detections, masks (N, H, W) bool or scores (K,)"
    )


def _differences(
    upright: _Answer, answer: _Answer, move: PlaneTransform
) -> Iterator[tuple[str, str]]:
    """Names of what differs, and how."""
    if (upright.refusal is None) != (answer.refusal is None):
        which = "as it is" if answer.refusal is None else "moved"
        yield (
            _REFUSALS,
            f"the photo is refused {which} alone ({upright.refusal or answer.refusal})",
        )
        return
    expected = {name: move.masks(masks) for name, masks in upright.moved.items()} | upright.kept
    found = answer.moved | answer.kept
    if expected.keys() != found.keys():
        yield "kinds of answer", f"they are {sorted(found)}, expected {sorted(expected)}"
        return
    for name, values in expected.items():
        if values.shape != found[name].shape:
            yield name, f"their shape is {found[name].shape}, expected {values.shape}"
        elif (off := values != found[name]).any():
            where = tuple(int(axis[0]) for axis in np.nonzero(off))
            yield (
                name,
                f"{np.count_nonzero(off)} of {values.size} values differ, at {where} first: "
                f"{found[name][where]}, expected {values[where]}",
            )
    if upright.boxes_xyxy is not None and answer.boxes_xyxy is not None:
        boxes = move.boxes(upright.boxes_xyxy)
        if boxes.shape != answer.boxes_xyxy.shape:
            yield "boxes", f"they are {len(answer.boxes_xyxy)}, expected {len(boxes)}"
            return
        off_px = np.abs(boxes - answer.boxes_xyxy).max(axis=1, initial=0.0)
        if (off_px > _BOX_TOLERANCE).any():
            worst = int(off_px.argmax())
            yield (
                "boxes",
                f"box {worst} is {answer.boxes_xyxy[worst].tolist()}, expected "
                f"{boxes[worst].tolist()}; off by {off_px[worst]:.3g} px",
            )


def _boxes(size_hw: tuple[int, int]) -> np.ndarray:
    """Two boxes on the grid of 1/64 px."""
    height, width = size_hw
    shares = np.array([[0.25, 0.125, 0.75, 0.5625], [0.03125, 0.5, 0.5, 0.96875]])
    return np.round(shares * [width, height, width, height] * 64) / 64


def _is_symmetric(image: np.ndarray, group: FiniteGroup) -> bool:
    """Whether an element but the identity leaves a photo as it is."""
    others = [element for element in exact_elements(group).values() if element]
    return any(np.array_equal(move_image(image, element), image) for element in others)
