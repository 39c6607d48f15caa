"""One photo of an evaluation: every method at every angle, back in the upright frame."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from samrot.canonicalizers import Canonicalizer
from samrot.data.coco import CocoDataset
from samrot.engines.prompt_sources import PromptBoxes, PromptSource
from samrot.errors import InputError
from samrot.geometry import actions
from samrot.predictor import RobustPredictor
from samrot.scoring import encode_mask, rle_iou
from samrot.segmenters import Prompts, Segmentation
from samrot.segmenters.memo import MemoSegmenter

if TYPE_CHECKING:
    from samrot.engines.evaluate import EvaluateSettings, SegmenterSettings


class PhotoRunner:
    """Evaluate one photo: every method at every angle.

    Args:
        settings: of the run.
        dataset: where photos and ground truth come from.
        source: of the boxes.
        segmenter: shares work between the turns of a photo; None to score the masks that come with
            the boxes.
        canonicalizer: needed for the method canonical.
    """

    def __init__(
        self,
        settings: EvaluateSettings,
        dataset: CocoDataset,
        source: PromptSource,
        segmenter: MemoSegmenter | None,
        canonicalizer: Canonicalizer | None,
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.source = source
        self.segmenter = segmenter
        self.canonicalizer = canonicalizer
        self.predictor = None if segmenter is None else RobustPredictor(segmenter, None)

    def __call__(self, image_id: int) -> dict[str, Any]:
        """A JSON-ready record: image id, seconds, and method -> angle -> what was found."""
        upright = self.dataset.read(image_id)
        seconds = {"canonicalize": 0.0, "encode": 0.0, "decode": 0.0}
        methods: dict[str, dict[str, Any]] = {}
        for method in self.settings.methods:
            methods[method] = {
                str(angle): self._run_turn(image_id, upright, method, angle // 90, seconds)
                for angle in self.settings.angles
            }
        if self.segmenter is not None:
            self.segmenter.clear()
        return {"image_id": image_id, "methods": methods, "seconds": seconds}

    def _run_turn(
        self, image_id: int, upright: np.ndarray, method: str, turns: int, seconds: dict[str, float]
    ) -> dict[str, Any]:
        turned = actions.rotate_image(upright, turns)
        start = time.perf_counter()
        pose = None
        if method == "canonical":
            assert self.canonicalizer is not None
            pose = self.canonicalizer.pose(turned)
        elif method == "oracle":
            pose = turns
        canonicalized = time.perf_counter()
        prompts = self.source.boxes(image_id, turned, turns, pose or 0)
        prompted = time.perf_counter()
        if self.predictor is not None:
            self.predictor.set_image(turned, pose=pose)
        encoded = time.perf_counter()
        masks, scores = self._segment(prompts)
        seconds["canonicalize"] += canonicalized - start
        seconds["encode"] += encoded - prompted
        seconds["decode"] += time.perf_counter() - encoded
        return self._record(image_id, turns, pose, prompts, masks, scores)

    def _segment(self, prompts: PromptBoxes) -> tuple[np.ndarray, np.ndarray]:
        """Masks (N, H, W) bool in the frame of the turned photo, and their predicted IoUs (N,)."""
        if len(prompts.boxes_xyxy) == 0:
            return np.zeros((0, 1, 1), dtype=bool), np.zeros(0)
        if self.predictor is None:
            if prompts.masks is None:
                raise InputError(
                    "segmenter.name is detector, but the detector returned no masks; expected "
                    "samrot.Detections(boxes_xyxy, scores, category_ids, masks)"
                )
            return prompts.masks, np.ones(len(prompts.masks))
        best = best_masks(
            self.predictor, Prompts(boxes_xyxy=prompts.boxes_xyxy), self.settings.segmenter
        )
        return best.masks[:, 0].cpu().numpy(), best.scores[:, 0].cpu().double().numpy()

    def _record(
        self,
        image_id: int,
        turns: int,
        pose: int | None,
        prompts: PromptBoxes,
        masks: np.ndarray,
        predicted_ious: np.ndarray,
    ) -> dict[str, Any]:
        """What was found, in the upright frame."""
        rles = [encode_mask(actions.rotate_image(mask, -turns)) for mask in masks]
        record: dict[str, Any] = {
            "pose": pose,
            "masks": [rle["counts"] for rle in rles],
            "scores": _mask_scores(self.settings.score, prompts.scores, predicted_ious).tolist(),
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
            turned_hw = actions.rotate_size(self.dataset.size_hw(image_id), turns)
            upright_boxes = actions.rotate_boxes(prompts.boxes_xyxy, -turns, turned_hw)
            upright_boxes[:, 2:] -= upright_boxes[:, :2]
            record["boxes_xywh"] = upright_boxes.tolist()
            record["box_scores"] = prompts.scores.tolist()
        return record


def best_masks(
    predictor: RobustPredictor, prompts: Prompts, settings: SegmenterSettings
) -> Segmentation:
    """One mask for each prompt, as the settings say: of several candidates, refined, or at once."""
    best = _best(predictor.predict_prompts(prompts, multimask_output=settings.multimask))
    for _ in range(settings.refine):
        refined = replace(prompts, mask_inputs=best.low_res_logits)
        best = _best(predictor.predict_prompts(refined))
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
