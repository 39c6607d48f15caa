"""Average precision of resampled photos, from the per-image matches, without their masks.

A photo drawn n times counts n-fold: its objects, and each of its results wherever it stands in the
order of scores. That gives what pycocotools gives on a dataset that holds the photo n times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = ("all", "small", "medium", "large")
_CELLS = 2_000_000  # of an intermediate array, which bounds memory


@dataclass(frozen=True, eq=False)
class _Category:
    """All results of one category, the highest score first, and the objects to find.

    Args:
        photo: (D,) which photo each result is of.
        hits: (areas, T, D) bool: matched with an object, and not ignored.
        misses: (areas, T, D) bool: not matched, and not ignored.
        objects: (areas, N) how many there are to find in each photo.
    """

    photo: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    objects: np.ndarray


class Matches:
    """The matches of N photos, by category.

    Args:
        by_photo: what ``image_matches`` says of each photo, in the order of their ids.
    """

    def __init__(self, by_photo: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        self.num_photos = len(by_photo)
        grouped: dict[int, list[tuple[int, Mapping[str, Any]]]] = {}
        for photo, matches in enumerate(by_photo):
            for match in matches:
                grouped.setdefault(match["category_id"], []).append((photo, match))
        self.categories = {
            category_id: self._join(parts) for category_id, parts in sorted(grouped.items())
        }

    def _join(self, parts: list[tuple[int, Mapping[str, Any]]]) -> _Category:
        objects = np.zeros((len(AREAS), self.num_photos))
        for index, match in parts:
            objects[:, index] = match["objects"]
        scores = np.concatenate([match["scores"] for _, match in parts])
        order = np.argsort(-scores, kind="stable")
        photo = np.repeat([index for index, _ in parts], [len(m["scores"]) for _, m in parts])
        matched, ignored = (
            np.concatenate(
                [np.asarray(m[name], dtype=np.int64).reshape(len(AREAS), -1) for _, m in parts],
                axis=1,
            )[:, order]
            for name in ("matched", "ignored")
        )
        bits = np.arange(len(IOU_THRESHOLDS))[:, None]
        is_matched, is_ignored = (
            ((flags[:, None] >> bits) & 1).astype(bool) for flags in (matched, ignored)
        )
        return _Category(
            photo[order].astype(int), is_matched & ~is_ignored, ~is_matched & ~is_ignored, objects
        )

    def precisions(self, counts: np.ndarray, area: str = "all") -> np.ndarray:
        """Average precision at each IoU threshold, of resampled photos.

        Args:
            counts: (R, N) how often each photo was drawn, in each of R resamples.
            area: objects of which size.

        Returns:
            (R, 10) means over the categories that have objects; NaN where none has.
        """
        total = np.zeros((len(counts), len(IOU_THRESHOLDS)))
        present = np.zeros(len(counts))
        for category in self.categories.values():
            objects = counts @ category.objects[AREAS.index(area)]
            found = objects > 0
            present += found
            total[found] += self._precisions(category, counts[found], objects[found], area)
        with np.errstate(invalid="ignore"):
            means: np.ndarray = np.where(present > 0, total.T / present, np.nan).T
        return means

    def _precisions(
        self, category: _Category, counts: np.ndarray, objects: np.ndarray, area: str
    ) -> np.ndarray:
        """(R, 10) of one category, all of whose resamples have objects to find."""
        if len(category.photo) == 0 or len(counts) == 0:
            return np.zeros((len(counts), len(IOU_THRESHOLDS)))
        hits, misses = (
            flags[AREAS.index(area)].astype(np.float64)
            for flags in (category.hits, category.misses)
        )
        at_once = max(1, _CELLS // hits.size)
        parts = []
        for start in range(0, len(counts), at_once):
            batch = slice(start, start + at_once)
            drawn = counts[batch][:, None, category.photo]
            true, false = np.cumsum(drawn * hits, axis=2), np.cumsum(drawn * misses, axis=2)
            recall = true / objects[batch][:, None, None]
            precision = true / (true + false + np.spacing(1))
            # As in pycocotools: the best precision at this recall or above it.
            envelope = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
            reached = np.searchsorted(RECALLS, recall, side="right")
            gained = np.diff(reached, axis=2, prepend=0)
            parts.append((envelope * gained).sum(axis=2) / len(RECALLS))
        return np.concatenate(parts)


def draw_counts(num_photos: int, resamples: int, seed: int) -> np.ndarray:
    """(R, N) how often each photo is drawn when N of them are drawn with replacement, R times."""
    chances = np.full(num_photos, 1 / num_photos)
    return np.random.default_rng(seed).multinomial(num_photos, chances, resamples).astype(float)


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of resampled values, (R,); None where one of them is undefined."""
    if not np.isfinite(values).all():
        return None
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
