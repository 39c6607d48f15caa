"""Scores of rotated-COCO runs. AP is that of pycocotools, over the whole dataset at once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from pycocotools import coco, cocoeval
from pycocotools import mask as coco_mask

from samrot.errors import InputError, check_choice
from samrot.geometry.actions import RLE

SCORERS = ("pycocotools", "faster-coco-eval")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def average_precision(
    content: dict[str, Any],
    results: Sequence[dict[str, Any]],
    image_ids: Sequence[int],
    kind: str,
    scorer: str = "pycocotools",
) -> dict[str, float | None]:
    """COCO average precision.

    Args:
        content: the untouched COCO annotations; crowds are ignore regions.
        results: COCO results with ``segmentation`` (compressed RLE) or ``bbox`` (XYWH), ``score``.
            Segmentation results must not hold ``bbox``, or their areas would be taken from it.
        image_ids: images that were run.
        kind: ``segm`` or ``bbox``.
        scorer: ``pycocotools``, or ``faster-coco-eval``, which gives the same numbers sooner.

    Returns:
        AP, AP50, AP75, APs, APm, APl; None where there is no ground truth of that kind.

    Raises:
        InputError: if the scorer is unknown or not installed.
    """
    coco_class, evaluation_class = _scorer_classes(scorer)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_class()
        # Both scorers write into records, never into what those hold.
        truth.dataset = {**content, "annotations": [dict(a) for a in content["annotations"]]}
        truth.createIndex()
        # loadRes refuses an empty list.
        found = (
            truth.loadRes([dict(result) for result in results])
            if results
            else _no_results(coco_class, content)
        )
        evaluation = _evaluate_by_category(partial(evaluation_class, truth, found, kind), image_ids)
        evaluation.summarize()
    values = evaluation.stats[:6]
    return {
        name: None if value < 0 else float(value)
        for name, value in zip(METRICS, values, strict=True)
    }


def _evaluate_by_category(build: Callable[[], Any], image_ids: Sequence[int]) -> Any:
    """Evaluate one category at a time, on the images that have to do with it.

    The arrays are those of all categories and images at once; what the scorer keeps of each pair of
    the two, and the time it takes for it, is not.
    """
    whole = build()
    wanted = set(image_ids)
    images: dict[int, set[int]] = {category_id: set() for category_id in whole.params.catIds}
    for annotation in (*whole.cocoGt.anns.values(), *whole.cocoDt.anns.values()):
        image_id, category_id = annotation["image_id"], annotation["category_id"]
        if image_id in wanted and category_id in images:
            images[category_id].add(image_id)
    params = whole.params
    shape = (len(params.iouThrs), len(images), len(params.areaRng), len(params.maxDets))
    recall = -np.ones(shape)
    precision = -np.ones((shape[0], len(params.recThrs), *shape[1:]))
    for k, category_id in enumerate(images):
        if images[category_id]:
            part = build()
            part.params.imgIds, part.params.catIds = sorted(images[category_id]), [category_id]
            part.evaluate()
            part.accumulate()
            precision[:, :, k] = part.eval["precision"][:, :, 0]
            recall[:, k] = part.eval["recall"][:, 0]
    whole.eval = {"precision": precision, "recall": recall}
    return whole


def _scorer_classes(scorer: str) -> tuple[Any, Any]:
    check_choice("scorer", scorer, SCORERS)
    if scorer == "pycocotools":
        return coco.COCO, cocoeval.COCOeval
    try:
        import faster_coco_eval
    except ImportError as error:
        raise InputError(
            "scorer is faster-coco-eval, which is not installed; pip install 'samrot[fast]'"
        ) from error
    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def _no_results(coco_class: Any, content: dict[str, Any]) -> Any:
    empty = coco_class()
    empty.dataset = {**content, "annotations": []}
    empty.createIndex()
    return empty


def rle_iou(first: RLE, second: RLE) -> float:
    """IoU of two masks; 1.0 where both are empty."""
    if coco_mask.area(first) == 0 and coco_mask.area(second) == 0:
        return 1.0
    return float(coco_mask.iou([first], [second], [0])[0, 0])


def encode_mask(mask: np.ndarray) -> RLE:
    """(H, W) bool to a compressed RLE whose counts are text, ready for JSON."""
    pixels = np.ascontiguousarray(mask, dtype=bool).view(np.uint8)
    rle = coco_mask.encode(cv2.transpose(pixels).T)  # in Fortran order, sooner than by numpy
    return RLE(size=[int(side) for side in rle["size"]], counts=rle["counts"].decode("ascii"))


def mean(values: Sequence[float | None]) -> float | None:
    """Mean, or None if there is nothing to average or something in it is undefined."""
    defined = [value for value in values if value is not None]
    if not values or len(defined) < len(values):
        return None
    return float(np.mean(defined))


def equivariance(masks_by_angle: Sequence[Sequence[RLE]]) -> dict[str, float | None]:
    """How alike the masks of the same instances are at different angles, in the upright frame.

    Args:
        masks_by_angle: for each angle, upright first, the masks of the same instances in order.

    Returns:
        ``identical_masks``: share of instances whose masks are bit-identical at all angles;
        ``mean_iou``: with the mask of the first angle. None without instances.
    """
    reference, *turned = masks_by_angle
    identical = [
        all(masks[i]["counts"] == rle["counts"] for masks in turned)
        for i, rle in enumerate(reference)
    ]
    ious = [rle_iou(rle, masks[i]) for masks in turned for i, rle in enumerate(reference)]
    return {"identical_masks": mean(identical), "mean_iou": mean(ious)}
