"""Several poses of one photo: the segmenter decides between them, or its masks are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from samrot.canonicalizers import Canonicalizer
from samrot.errors import InputError, check_choice
from samrot.geometry.groups import C4
from samrot.robust.frames import CanonicalFrame, find_frame
from samrot.robust.pipeline import CanonicalImage, Pipeline
from samrot.robust.pose_sources import (
    UPRIGHT,
    OrbitSource,
    PoseSource,
    PriorWeighted,
    UnsureCanonicalizer,
    WholeOrbit,
)
from samrot.segmenters import Segmenter
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

POSE_SOURCES = ("canonicalizer", "confidence", "hybrid")


def find_source(
    name: str,
    segmenter: Segmenter,
    canonicalizer: Canonicalizer | None,
    prior: Sequence[float] | None = None,
) -> PoseSource | OrbitSource:
    """What estimates poses for a segmenter, by name.

    Args:
        name: one of ``POSE_SOURCES``.
        segmenter: has a say in the latter two of them.
        canonicalizer: has a say in the first and the last.
        prior: see ``PriorWeighted``.

    Raises:
        InputError: if there is none of that name, the segmenter predicts no IoU to decide by,
            there is no canonicalizer to be unsure, or the prior is none, or not for that source.
    """
    check_choice("pose_source", name, POSE_SOURCES)
    if prior is not None:
        if name != "canonicalizer" or canonicalizer is None:
            raise InputError(
                "pose_prior is for pose_source canonicalizer, with a canonicalizer; leave it out"
            )
        return PriorWeighted(canonicalizer, tuple(prior))
    if name == "canonicalizer":
        return canonicalizer or UPRIGHT
    if not segmenter.predicts_scores:
        raise InputError(
            f"pose_source is {name}, which goes by the predicted IoU, but {segmenter.name} "
            "predicts none; use canonicalizer"
        )
    if name == "confidence":
        return WholeOrbit(C4 if canonicalizer is None else canonicalizer.group)
    if canonicalizer is None:
        raise InputError("pose_source is hybrid, but canonicalizer is None; name one, as c4")
    return UnsureCanonicalizer(canonicalizer)


class WeightedFrame(NamedTuple):
    """How a photo may lie.

    Args:
        frame: change of frame to the canonical one.
        log_weight: see ``Candidate``.
    """

    frame: CanonicalFrame
    log_weight: float = 0.0


def find_frames(
    image: np.ndarray, source: PoseSource | OrbitSource, *, tilt: str = "quarter"
) -> list[WeightedFrame]:
    """How a photo may lie in its canonical frame: as ``find_frame``, of any source."""
    if not isinstance(source, OrbitSource):
        return [WeightedFrame(find_frame(image, source, tilt=tilt))]
    size_hw = (image.shape[0], image.shape[1])
    of_pose = partial(CanonicalFrame.of_pose, size_hw=size_hw, tilt=tilt, snapped=True, image=image)
    return [WeightedFrame(of_pose(pose), weight) for pose, weight in source.candidates(image)]


def mean_predicted_iou(
    pipeline: Pipeline,
    image: CanonicalImage,
    prompts: Prompts,
    *,
    multimask: bool,
    in_canonical: bool = False,
) -> float:
    """How sure the segmenter is of the masks of some prompts; 0 where there are none.

    Arguments as of ``Pipeline.best_masks``.
    """
    if len(prompts) == 0:
        return 0.0
    batches = pipeline.best_masks(
        image, prompts, multimask=multimask, refine=0, in_canonical=in_canonical
    )
    return float(np.concatenate([batch.scores.double().cpu().numpy() for batch in batches]).mean())


def choose(
    pipeline: Pipeline,
    weighted: Sequence[tuple[CanonicalImage, float]],
    prompts: Prompts,
    *,
    multimask: bool,
) -> CanonicalImage:
    """Of a photo in several frames, the one with the largest mean predicted IoU + log weight.

    Args:
        pipeline: what decodes.
        weighted: the photo, encoded in each frame, with its log weight; one is taken as it is.
        prompts: in the user's frame.
        multimask: as of ``Pipeline.best_masks``.
    """
    if len(weighted) == 1:
        return weighted[0][0]
    evidence = [
        weight + mean_predicted_iou(pipeline, image, prompts, multimask=multimask)
        for image, weight in weighted
    ]
    return weighted[int(np.argmax(evidence))][0]


def average_masks(
    pipeline: Pipeline,
    images: Sequence[CanonicalImage],
    prompts: Prompts,
    *,
    multimask: bool,
    refine: int,
) -> Iterator[Segmentation]:
    """Masks from the mean of the logits over several frames: test-time augmentation.

    The sum is taken in float64, where the order of the frames does not show in the masks. Scores
    are means too; the low-resolution logits are those of the first frame.

    Args:
        pipeline: what decodes.
        images: the same photo, encoded in each frame.
        prompts, multimask, refine: as of ``Pipeline.best_masks``; prompts in the user's frame.

    Yields:
        C = 1, a batch at a time.
    """
    of_frames = [
        pipeline.best_masks(image, prompts, multimask=multimask, refine=refine, return_logits=True)
        for image in images
    ]
    for batches in zip(*of_frames, strict=True):
        logits = torch.stack([batch.masks.double() for batch in batches]).sum(0)
        scores = torch.stack([batch.scores.double() for batch in batches]).mean(0)
        yield Segmentation(logits > 0, scores, batches[0].low_res_logits)
