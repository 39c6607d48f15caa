"""The photos of an evaluation: every method at every angle, back in the upright frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from samrot.canonicalizers import Canonicalizer
from samrot.data.coco import CocoDataset
from samrot.engines.background import in_background
from samrot.engines.prompt_sources import PromptBoxes, PromptSource
from samrot.errors import InputError
from samrot.geometry import actions
from samrot.pipeline import CanonicalImage, Pipeline
from samrot.scoring import encode_mask, rle_iou
from samrot.segmenters import Prompts, Segmentation, Segmenter
from samrot.segmenters.memo import MemoSegmenter

if TYPE_CHECKING:
    from samrot.engines.evaluate import EvaluateSettings, SegmenterSettings

STAGES = ("read", "canonicalize", "prompt", "encode", "decode", "record")


@dataclass
class Photo:
    """A photo on its way through the stages.

    Args:
        image_id: of the dataset.
        upright: (H, W, 3) uint8 RGB.
        turns: what is asked of it.
        seconds: stage -> spent so far.
        found: method -> angle -> JSON-ready result, so far.
    """

    image_id: int
    upright: np.ndarray
    turns: list[Turn] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time within as that stage's."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


@dataclass(frozen=True)
class Turn:
    """A photo at one angle under one method.

    Args:
        method: none, canonical or oracle.
        turns: quarter turns from upright.
        pose: what the method takes the pose to be; None for the plain segmenter.
        prompts: in the frame of the turned photo.
    """

    method: str
    turns: int
    pose: int | None
    prompts: PromptBoxes


@dataclass(frozen=True)
class SegmentedTurn:
    """What was found in a photo at a turn.

    Args:
        photo: the one.
        turn: of its turns.
        masks: (N, H, W) bool, in the frame of the turned photo.
        predicted_ious: (N,) of them.
    """

    photo: Photo
    turn: Turn
    masks: np.ndarray
    predicted_ious: np.ndarray


class PhotoRunner:
    """Evaluate photos: every method at every angle.

    In three stages: read photos, judge poses and ask for boxes; segment; turn masks back, encode
    and write them.

    Args:
        settings: of the run.
        dataset: where photos and ground truth come from.
        source: of the boxes.
        segmenter: None to score the masks that come with the boxes.
        canonicalizer: needed for the method canonical.
        overlap: the first and the last stage run in threads of their own, beside the second: with a
            GPU that pays; a CPU is busy with any one of them.
    """

    def __init__(
        self,
        settings: EvaluateSettings,
        dataset: CocoDataset,
        source: PromptSource,
        segmenter: Segmenter | None,
        canonicalizer: Canonicalizer | None,
        *,
        overlap: bool,
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.source = source
        self.canonicalizer = canonicalizer
        self.map_stage = in_background if overlap else map
        self.memo: MemoSegmenter | None = None
        if segmenter is not None:
            self.memo = MemoSegmenter(segmenter, images_per_batch=settings.images_per_batch)
            self.pipeline = Pipeline(self.memo, None)

    def run(self, image_ids: Sequence[int], write: Callable[[dict[str, Any]], None]) -> None:
        """Evaluate photos, in order.

        Args:
            image_ids: of the photos.
            write: called with each photo's JSON-ready record: image id, seconds, and method ->
                angle -> what was found; from another thread where stages overlap.

        Raises:
            InputError: if a photo is unusable; those before it were written.
        """
        photos = self.map_stage(self._prepare, image_ids)
        segmented = self._segment_all(iter(photos))
        for _ in self.map_stage(partial(self._record, write), segmented):
            pass

    def _prepare(self, image_id: int) -> Photo:
        """Read, judge poses, ask for boxes."""
        start = time.perf_counter()
        photo = Photo(image_id, self.dataset.read(image_id))
        photo.seconds["read"] = time.perf_counter() - start
        for method in self.settings.methods:
            for angle in self.settings.angles:
                turns = angle // 90
                turned = actions.rotate_image(photo.upright, turns)
                pose = turns if method == "oracle" else None
                if method == "canonical":
                    assert self.canonicalizer is not None
                    with photo.timed("canonicalize"):
                        pose = self.canonicalizer.pose(turned)
                with photo.timed("prompt"):
                    prompts = self.source.boxes(image_id, turned, turns, pose or 0)
                photo.turns.append(Turn(method, turns, pose, prompts))
        return photo

    def _segment_all(self, photos: Iterator[Photo]) -> Iterator[SegmentedTurn]:
        """Work is shared between the turns of a photo, and encoding between those of a batch."""
        while group := list(islice(photos, self.settings.images_per_batch)):
            encoded = self._encode(group)
            for photo in group:
                for turn in photo.turns:
                    yield self._segment(photo, turn, next(encoded))
                if self.memo is not None:
                    self.memo.clear_segmentations()
            if self.memo is not None:
                self.memo.clear()

    def _encode(self, photos: list[Photo]) -> Iterator[CanonicalImage | None]:
        """Each turn of each photo; None where nothing segments."""
        if self.memo is None:
            return repeat(None)
        start = time.perf_counter()
        images = [
            actions.rotate_image(photo.upright, turn.turns)
            for photo in photos
            for turn in photo.turns
        ]
        poses = [turn.pose for photo in photos for turn in photo.turns]
        encoded = self.pipeline.encode(images, poses)
        for photo in photos:
            photo.seconds["encode"] = (time.perf_counter() - start) / len(photos)
        return iter(encoded)

    def _segment(self, photo: Photo, turn: Turn, image: CanonicalImage | None) -> SegmentedTurn:
        prompts = turn.prompts
        if len(prompts.boxes_xyxy) == 0:
            return SegmentedTurn(photo, turn, np.zeros((0, 1, 1), dtype=bool), np.zeros(0))
        if image is None:
            if prompts.masks is None:
                raise InputError(
                    "segmenter.name is detector, but the detector returned no masks; expected "
                    "samrot.Detections(boxes_xyxy, scores, category_ids, masks)"
                )
            return SegmentedTurn(photo, turn, prompts.masks, np.ones(len(prompts.masks)))
        with photo.timed("decode"):
            best = best_masks(
                partial(self.pipeline.decode, image),
                Prompts(boxes_xyxy=prompts.boxes_xyxy),
                self.settings.segmenter,
            )
            masks, scores = best.masks[:, 0].cpu().numpy(), best.scores[:, 0].cpu().double().numpy()
        return SegmentedTurn(photo, turn, masks, scores)

    def _record(self, write: Callable[[dict[str, Any]], None], segmented: SegmentedTurn) -> None:
        """Turn masks back and encode them; write what was found, after a photo's last turn."""
        photo, turn = segmented.photo, segmented.turn
        with photo.timed("record"):
            found = photo.found.setdefault(turn.method, {})
            found[str(90 * turn.turns)] = self._upright(segmented)
        if turn is photo.turns[-1]:
            write({"image_id": photo.image_id, "methods": photo.found, "seconds": photo.seconds})

    def _upright(self, segmented: SegmentedTurn) -> dict[str, Any]:
        turn, prompts = segmented.turn, segmented.turn.prompts
        image_id = segmented.photo.image_id
        rles = [encode_mask(actions.rotate_image(mask, -turn.turns)) for mask in segmented.masks]
        scores = _mask_scores(self.settings.score, prompts.scores, segmented.predicted_ious)
        record: dict[str, Any] = {
            "pose": turn.pose,
            "masks": [rle["counts"] for rle in rles],
            "scores": scores.tolist(),
            "category_ids": prompts.category_ids.tolist(),
            "instance_ids": None if prompts.instance_ids is None else prompts.instance_ids.tolist(),
        }
        if prompts.scores is None:
            truths = self.dataset.instances(image_id)
            record["ious"] = [
                rle_iou(rle, self.dataset.rle(truth))
                for rle, truth in zip(rles, truths, strict=True)
            ]
        else:
            turned_hw = actions.rotate_size(self.dataset.size_hw(image_id), turn.turns)
            upright_boxes = actions.rotate_boxes(prompts.boxes_xyxy, -turn.turns, turned_hw)
            upright_boxes[:, 2:] -= upright_boxes[:, :2]
            record["boxes_xywh"] = upright_boxes.tolist()
            record["box_scores"] = prompts.scores.tolist()
        return record


def best_masks(
    decode: Callable[..., Segmentation], prompts: Prompts, settings: SegmenterSettings
) -> Segmentation:
    """One mask for each prompt, as the settings say: of several candidates, refined, or at once.

    Args:
        decode: as ``RobustPredictor.predict_prompts``.
        prompts: for it.
        settings: ``multimask`` and ``refine`` count.
    """
    best = _best(decode(prompts, multimask_output=settings.multimask, return_logits=False))
    for _ in range(settings.refine):
        refined = replace(prompts, mask_inputs=best.low_res_logits)
        best = _best(decode(refined, multimask_output=False, return_logits=False))
    return best


def _best(result: Segmentation) -> Segmentation:
    """Of several candidates the one of the highest score, C = 1."""
    best = result.scores.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return Segmentation(
        result.masks[rows, best][:, None],
        result.scores[rows, best][:, None],
        result.low_res_logits[rows, best][:, None],
    )


def _mask_scores(
    chosen: str, detector_scores: np.ndarray | None, predicted_ious: np.ndarray
) -> np.ndarray:
    if detector_scores is None or chosen == "segmenter":
        return predicted_ious
    if chosen == "product":
        return detector_scores * predicted_ious
    return detector_scores
