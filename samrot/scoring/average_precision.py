"""Scores of rotated-COCO runs. AP is that of pycocotools, over the whole dataset at once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval

from samrot.errors import InputError, check_choice

SCORERS = ("pycocotools", "faster-coco-eval")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def average_precision(
    content: dict[str, Any],
    results: Sequence[dict[str, Any]],
    image_ids: Sequence[int],
    kind: str,
    scorer: str = "pycocotools",
) -> dict[str, Any]:
    """COCO average precision.

    Args:
        content: the untouched COCO annotations; crowds are ignore regions.
        results: COCO results with ``segmentation`` (compressed RLE) or ``bbox`` (XYWH), ``score``.
            Segmentation results must not hold ``bbox``, or their areas would be taken from it.
        image_ids: images that were run.
        kind: ``segm`` or ``bbox``.
        scorer: ``pycocotools``, or ``faster-coco-eval``, which gives the same numbers sooner.

    Returns:
        AP, AP50, AP75, APs, APm, APl, and ``AP_by_category``, category id -> AP; None where there
        is no ground truth of that kind.

    Raises:
        InputError: if the scorer is unknown or not installed.
    """
    coco_class, evaluation_class = _scorer_classes(scorer)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_class()
        # Both scorers write into records, never into what those hold. Ids from 1: a match with the
        # annotation of id 0 would count as none.
        numbered = [{**a, "id": n} for n, a in enumerate(content["annotations"], start=1)]
        truth.dataset = {**content, "annotations": numbered}
        truth.createIndex()
        # loadRes refuses an empty list.
        detections = (
            truth.loadRes([dict(result) for result in results])
            if results
            else _no_results(coco_class, content)
        )
        evaluation = _evaluate_by_category(
            partial(evaluation_class, truth, detections, kind), image_ids
        )
        evaluation.summarize()
    values = dict(zip(METRICS, evaluation.stats[:6], strict=True))
    # All areas, and as many detections as are allowed.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_category = {
        category_id: np.mean(precision[:, :, k])
        for k, category_id in enumerate(evaluation.params.catIds)
    }
    return {
        **{name: _defined(value) for name, value in values.items()},
        "AP_by_category": {category_id: _defined(ap) for category_id, ap in by_category.items()},
    }


def _defined(value: float) -> float | None:
    """A score; the scorers say -1 where there is no ground truth."""
    return None if value < 0 else float(value)


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
