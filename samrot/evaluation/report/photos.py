"""The photos where the methods of a run differ most, with their masks."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samrot.data.coco import CocoDataset
from samrot.drawing.overlays import DrawnObject, draw_objects, panel
from samrot.evaluation.report.page import Picture
from samrot.geometry.rle import RLE
from samrot.runtime.records import Record
from samrot.scoring import mean
from samrot.scoring.resampled import Matches

MOST_PHOTOS = 6
_CELL = 250  # longest side of a photo, pixels


@dataclass(frozen=True, order=True)
class Disagreement:
    """A photo at the view where its methods are furthest apart.

    Args:
        spread: the best score less the worst.
        image_id: id in the dataset.
        view: key of the view.
        scores: method -> mean IoU, or the photo's own AP where the boxes were detected.
        masks: method -> COCO counts in the upright frame.
    """

    spread: float
    image_id: int
    view: str
    scores: dict[str, float]
    masks: dict[str, list[str]]


def widest_disagreements(records: Iterable[Record], most: int = MOST_PHOTOS) -> list[Disagreement]:
    """The photos whose methods differ most, the widest first; none of a single method."""
    found: list[Disagreement] = []
    for record in records:
        methods = record["methods"]
        of_views = [
            _disagreement(record["image_id"], view, {name: methods[name][view] for name in methods})
            for view in next(iter(methods.values()))
        ]
        widest = max((d for d in of_views if d is not None), default=None)
        if widest is not None and widest.spread > 0:
            (heapq.heappush if len(found) < most else heapq.heappushpop)(found, widest)
    return sorted(found, reverse=True)


def _disagreement(
    image_id: int, view: str, results: dict[str, dict[str, Any]]
) -> Disagreement | None:
    scores = {method: _score(result) for method, result in results.items()}
    defined = {method: score for method, score in scores.items() if score is not None}
    if len(defined) < max(2, len(results)):
        return None
    masks = {method: result["masks"] for method, result in results.items()}
    spread = max(defined.values()) - min(defined.values())
    return Disagreement(spread, image_id, view, defined, masks)


def _score(result: dict[str, Any]) -> float | None:
    if "ious" in result:
        return mean(result["ious"])
    matches = result.get("matches", {}).get("segm")  # none in records of 0.1.0
    if not matches:
        return None
    precision = float(Matches([matches]).precisions(np.ones((1, 1))).mean())
    return precision if np.isfinite(precision) else None


def draw_disagreements(
    disagreements: Sequence[Disagreement], dataset: CocoDataset
) -> list[Picture]:
    """A row of pictures for each photo: the annotations, and what each method made of it."""
    pictures = []
    for found in disagreements:
        image, size = dataset.read(found.image_id), list(dataset.size_hw(found.image_id))
        truth = [dataset.rle(a) for a in dataset.instances(found.image_id) if dataset.has_masks]
        rows = {"annotated": truth} if truth else {}
        for method, counts in found.masks.items():
            label = f"{method}: {found.scores[method]:.3f}"
            rows[label] = [RLE(size=size, counts=text) for text in counts]
        panels = [
            panel([draw_objects(image, [DrawnObject(rle) for rle in rles])], label, _CELL)
            for label, rles in rows.items()
        ]
        name = dataset.image_path(found.image_id).name
        caption = f"{name}, segmented turned by {found.view} degrees, masks moved back"
        pictures.append(Picture.of_image(np.concatenate(panels, axis=1), caption))
    return pictures
