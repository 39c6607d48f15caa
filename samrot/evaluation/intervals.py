"""How far the numbers of an evaluation could be off: paired bootstrap over its photos.

Every method at every view is scored on the same resamples, so that differences have intervals of
their own: what the choice of photos does to both does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samrot.evaluation.methods import find_method
from samrot.evaluation.views import OrbitView
from samrot.runtime.records import Record
from samrot.scoring.resampled import Matches, draw_counts, interval

SEED = 0
CONFIDENCE = 0.95


class KeptMatches:
    """What the records say of matches and poses, photo by photo.

    Args:
        methods: methods of the run.
        views: views of the run.
        kinds: ``segm``, and ``bbox`` where boxes are scored.
    """

    def __init__(
        self, methods: Sequence[str], views: Sequence[OrbitView], kinds: Sequence[str]
    ) -> None:
        self.methods, self.views, self.kinds = methods, views, kinds
        self._by_photo: dict[tuple[str, str, str], list[Any]] = {
            (method, view.key, kind): [] for method in methods for view in views for kind in kinds
        }
        self._correct: dict[str, list[int]] = {
            method: [] for method in methods if find_method(method).estimates
        }

    def update(self, record: Record) -> None:
        """Add a photo; records of samrot 0.1.0 hold no matches, boxes alone none of masks."""
        for method, view, kind in self._by_photo:
            matches = record["methods"][method][view].get("matches", {})
            self._by_photo[method, view, kind].append(matches.get(kind))
        for method, correct in self._correct.items():
            results = record["methods"][method]
            correct.append(sum(v.is_nearest(results[v.key]["pose"]) for v in self.views))

    def average_precision_per_image(self, method: str, view: str) -> float | None:
        """The mean of each photo's own AP: the paper's protocol, which is not dataset AP."""
        photos = self._by_photo[method, view, "segm"]
        if None in photos:
            return None
        once = np.ones((1, 1))
        alone = [Matches([photo]).precisions(once).mean() for photo in photos]
        defined = [value for value in alone if np.isfinite(value)]
        return float(np.mean(defined)) if defined else None

    def intervals(self, resamples: int) -> dict[str, Any] | None:
        """Intervals of AP, of differences to ``none``, of retention and of pose accuracy.

        Args:
            resamples: how many times the photos are drawn anew.

        Returns:
            JSON-ready; an interval is a list of two numbers, or None where it is undefined. None
            where the records hold no matches.
        """
        kinds = [
            kind
            for kind in self.kinds
            if not any(None in photos for key, photos in self._by_photo.items() if key[2] == kind)
        ]
        if not kinds:
            return None
        num_photos = len(next(iter(self._by_photo.values())))
        counts = draw_counts(num_photos, resamples, SEED)
        drawn = {
            key: Matches(by_photo).precisions(counts).mean(axis=1)
            for key, by_photo in self._by_photo.items()
            if key[2] in kinds
        }
        of_methods = {}
        for method in self.methods:
            of_kinds: dict[str, Any] = {
                "AP" if kind == "segm" else f"{kind}_AP": self._of_kind(drawn, method, kind)
                for kind in kinds
            }
            if method in self._correct:
                shares = counts @ np.array(self._correct[method]) / len(self.views) / num_photos
                of_kinds["pose_accuracy"] = pair(shares)
            of_methods[method] = of_kinds
        return described(resamples, of_methods)

    def _of_kind(
        self, drawn: dict[tuple[str, str, str], np.ndarray], method: str, kind: str
    ) -> dict[str, Any]:
        by_method = {
            name: {view.key: drawn[name, view.key, kind] for view in self.views}
            for name in self.methods
        }
        return view_intervals(by_method, method)


def view_intervals(drawn: Mapping[str, Mapping[str, np.ndarray]], method: str) -> dict[str, Any]:
    """Intervals of one score of a method: by view, average, retention, differences to ``none``.

    Args:
        drawn: method -> view -> (R,) its score on each of R resamples.
        method: the method.
    """
    values = drawn[method]
    average = np.mean([*values.values()], axis=0)
    result: dict[str, Any] = {
        "angles": {view: pair(value) for view, value in values.items()},
        "average": pair(average),
    }
    if "none" in drawn:
        plain = drawn["none"]
        if "0" in plain:
            with np.errstate(divide="ignore", invalid="ignore"):
                result["retention"] = pair(average / plain["0"])
        if method != "none":
            differences = {view: values[view] - plain[view] for view in values}
            result["minus_none"] = {
                "angles": {view: pair(value) for view, value in differences.items()},
                "average": pair(np.mean([*differences.values()], axis=0)),
            }
    return result


def described(resamples: int, of_methods: dict[str, Any]) -> dict[str, Any]:
    """Intervals of the methods with how they were made, JSON-ready."""
    return {
        "resamples": resamples, "seed": SEED, "confidence": CONFIDENCE, "methods": of_methods
    }  # fmt: skip


def pair(values: np.ndarray) -> list[float] | None:
    """The interval of resampled values, (R,), JSON-ready; None where one is undefined."""
    found = interval(values, CONFIDENCE)
    return None if found is None else list(found)
