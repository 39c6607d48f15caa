"""The last stage of a segmentation: masks come upright, are scored, and go into the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from samrot.data.coco import CocoDataset
from samrot.evaluation.photo import EncodedView, MethodView, Photo, SegmentedBatch
from samrot.evaluation.prompts import PromptKind, ViewPrompts
from samrot.evaluation.results import coco_results
from samrot.geometry.rle import encode_mask, rle_iou
from samrot.runtime.records import Record
from samrot.scoring import image_matches
from samrot.structures.fingerprints import fingerprint


class MaskRecorder:
    """Makes the record of a photo, batch by batch.

    Args:
        dataset: the photos and their ground truth.
        score: what scores a mask, as in ``EvaluateSettings``.
        write: called with each photo's record.
    """

    def __init__(self, dataset: CocoDataset, score: str, write: Callable[[Record], None]) -> None:
        self.dataset = dataset
        self.score = score
        self.write = write

    def __call__(self, segmented: SegmentedBatch | Photo) -> None:
        """Move masks back and encode them; write the record of a photo that is done."""
        if isinstance(segmented, SegmentedBatch):
            photo, of_view = segmented.photo, segmented.of_view
            with photo.timed("record"):
                back = of_view.view.transform(self.dataset.size_hw(photo.image_id)).inverse()
                encoded = photo.encoded.setdefault(of_view, EncodedView())
                rows = segmented.rows.tolist()
                rles = [encode_mask(back.masks(mask)) for mask in segmented.masks]
                encoded.rles.update(zip(rows, rles, strict=True))
                ious = segmented.predicted_ious.tolist()
                encoded.predicted_ious.update(zip(rows, ious, strict=True))
            return
        photo = segmented
        results: dict[str, dict[str, Any]] = {}
        with photo.timed("record"):
            for of_view in photo.views:
                by_view = results.setdefault(of_view.asked.method, {})
                by_view[of_view.view.key] = self._result(photo, of_view)
        self.write(
            {
                "image_id": photo.image_id,
                "fingerprint": fingerprint(photo.upright),
                "methods": results,
                "seconds": photo.seconds,
            }
        )

    def _result(self, photo: Photo, of_view: MethodView) -> dict[str, Any]:
        image_id, prompts = photo.image_id, of_view.prompts
        encoded = photo.encoded.get(of_view, EncodedView())
        back = of_view.view.transform(self.dataset.size_hw(image_id)).inverse()
        rows = sorted(encoded.rles)
        rles = [encoded.rles[row] for row in rows]
        predicted_ious = np.array([encoded.predicted_ious[row] for row in rows])
        scores = _mask_scores(self.score, prompts, predicted_ious)
        ids = prompts.instance_ids
        pose = of_view.frame.pose if of_view.method.undoes_pose else None
        result: dict[str, Any] = {
            "pose": None if pose is None else pose.element,
            "tilt_deg": None if pose is None else pose.tilt_deg,
            "pose_confidence": None
            if pose is None or pose.probabilities is None
            else pose.confidence,
            "encoder_passes": len(of_view.asked.candidates) + len(of_view.objects),
            "masks": [rle["counts"] for rle in rles],
            "scores": scores.tolist(),
            "category_ids": prompts.category_ids.tolist(),
            "instance_ids": None if ids is None else ids.tolist(),
        }
        if prompts.kind is PromptKind.GROUND_TRUTH:
            truths = self.dataset.instances(image_id) if self.dataset.has_masks else ()
            result["ious"] = [
                rle_iou(rle, self.dataset.rle(truth))
                for rle, truth in zip(rles, truths, strict=self.dataset.has_masks)
            ]
        else:
            if prompts.in_canonical:
                back = of_view.frame.transform.inverse().then(back)
            upright_boxes = back.boxes(prompts.boxes_xyxy)
            upright_boxes[:, 2:] -= upright_boxes[:, :2]
            result["boxes_xywh"] = upright_boxes.tolist()
            result["box_scores"] = prompts.scores.tolist()
        result["matches"] = self._matches(image_id, result)
        return result

    def _matches(self, image_id: int, result: dict[str, Any]) -> dict[str, Any]:
        """The per-image matches that average precision needs, by kind of result."""
        annotations = self.dataset.annotations_as_rle(image_id)
        results = coco_results(image_id, result, self.dataset)
        image = self.dataset.images[image_id]
        kinds = [kind for kind in results if kind != "segm" or self.dataset.has_masks]
        return {kind: image_matches(image, annotations, results[kind], kind) for kind in kinds}


def _mask_scores(chosen: str, prompts: ViewPrompts, predicted_ious: np.ndarray) -> np.ndarray:
    if prompts.kind is PromptKind.GROUND_TRUTH or chosen == "segmenter":
        return predicted_ious
    if chosen == "product":
        return prompts.scores * predicted_ious
    return prompts.scores
