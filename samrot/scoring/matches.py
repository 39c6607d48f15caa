"""What average precision needs of one image, so that it can be computed again without the masks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval


def image_matches(
    image: dict[str, Any],
    annotations: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    kind: str,
) -> list[dict[str, Any]]:
    """How pycocotools matches the results of one image with its annotations.

    Args:
        image: record with ``id``, ``height`` and ``width``.
        annotations: its annotations, with ``segmentation`` as RLE; crowds are ignore regions.
        results: COCO results of that image.
        kind: ``segm`` or ``bbox``.

    Returns:
        For each category that occurs: ``category_id``; ``scores`` of the results, highest first
        (D); and for all, small, medium and large objects: ``objects``, how many there are to find,
        ``matched`` and ``ignored``, D integers each, whose bit t says so at the t-th IoU threshold.
    """
    categories = sorted({record["category_id"] for record in (*annotations, *results)})
    # Ids from 1: pycocotools takes a match with the annotation of id 0 for none.
    numbered = [{**annotation, "id": n} for n, annotation in enumerate(annotations, start=1)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, detections = coco.COCO(), coco.COCO()
        listed = {"images": [image], "categories": [{"id": c} for c in categories]}
        truth.dataset = {**listed, "annotations": numbered}
        truth.createIndex()
        if results:
            detections = truth.loadRes([dict(result) for result in results])
        else:
            detections.dataset = {**listed, "annotations": []}
            detections.createIndex()
        evaluation = cocoeval.COCOeval(truth, detections, kind)
        evaluation.params.imgIds, evaluation.params.catIds = [image["id"]], categories
        evaluation.evaluate()
    areas = len(evaluation.params.areaRng)
    matches = []
    for number, category_id in enumerate(categories):
        by_area = evaluation.evalImgs[number * areas : (number + 1) * areas]
        if by_area[0] is None:
            continue
        matches.append(
            {
                "category_id": category_id,
                "scores": [float(score) for score in by_area[0]["dtScores"]],
                "objects": [int((np.asarray(area["gtIgnore"]) == 0).sum()) for area in by_area],
                "matched": [_bits(area["dtMatches"] > 0) for area in by_area],
                "ignored": [_bits(area["dtIgnore"]) for area in by_area],
            }
        )
    return matches


def _bits(flags: np.ndarray) -> list[int]:
    """(T, D) flags as D integers, bit t for row t."""
    weights = 1 << np.arange(len(flags))
    return [int(number) for number in weights @ np.asarray(flags, dtype=np.int64)]
