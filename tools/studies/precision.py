"""Average precision of any choice of poses, from one run of the plain segmenter.

A photo turned by k whose pose is estimated with an error is segmented as the plain segmenter does
that photo turned by the error: quarter turns are exact, and a detector sees what the method sees.
(But for the rounding of prompts to 1/64 px, where a pose was estimated.) So what any canonicalizer,
or any policy, makes of the photos is a choice among the masks of their four turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samrot.data.coco import CocoDataset, DataSettings
from samrot.errors import InputError
from samrot.evaluation.prompts import PromptSettings
from samrot.evaluation.settings import EvaluateSettings
from samrot.geometry.groups import C4
from samrot.runtime.records import RecordStore
from samrot.scoring.resampled import Matches
from studies.numbers import Sample

MIN_SCORE = 0.25  # of detections


class PlainRun:
    """The plain segmenter on upright photos and their turns.

    Args:
        folder: a finished evaluation with the method none at all four turns.
        dataset: that it ran on.
        resamples: resamples of the photos; 0 for none.

    Raises:
        InputError: if there are no records of such an evaluation.
    """

    def __init__(self, folder: Path, dataset: CocoDataset, resamples: int) -> None:
        store = RecordStore(folder, None)
        if not store.is_merged:
            raise InputError(
                f"{folder} is no finished run of samrot evaluate that keeps matches, as those of "
                "0.2.0 do; run it, to its end, with the method none at all four angles"
            )
        records = list(store)
        self.paths = [dataset.image_path(record["image_id"]) for record in records]
        self.sample = Sample(len(records), resamples)
        self._matches: list[list[Any]] = [
            [record["methods"]["none"][key]["matches"]["segm"] for key in C4.names]
            for record in records
        ]

    def precision(self, weights: np.ndarray) -> np.ndarray:
        """(1 + R,) AP where the photos arrive at the segmenter turned, some more often.

        Args:
            weights: (N, 4) how often each photo arrives turned by 0, 90, 180 and 270 degrees.
        """
        photos, turns = np.nonzero(weights)
        by_photo = [self._matches[p][t] for p, t in zip(photos, turns, strict=True)]
        counts = self.sample.counts[:, photos] * weights[photos, turns]
        means: np.ndarray = Matches(by_photo).precisions(counts).mean(axis=1)
        return means

    @cached_property
    def at_turns(self) -> np.ndarray:
        """(4, 1 + R) AP of all photos turned by 0, 90, 180, 270 degrees."""
        turns = np.eye(C4.order)
        return np.stack([self.precision(np.tile(turn, (len(self.sample), 1))) for turn in turns])

    def predicted(self, errors: np.ndarray) -> np.ndarray:
        """(1 + R,) AP if it were linear: that at each turn, by the share of photos left with it."""
        shares = np.stack([self.sample.mean(errors == turn) for turn in range(C4.order)])
        linear: np.ndarray = (shares * self.at_turns).sum(axis=0)
        return linear

    def alone(self, turns: np.ndarray) -> np.ndarray:
        """(N,) AP of each photo by itself, turned so; NaN where there is nothing to find."""
        once = np.ones((1, 1))
        return np.array(
            [
                Matches([of_turns[turn]]).precisions(once).mean()
                for of_turns, turn in zip(self._matches, turns, strict=True)
            ]
        )


def once(turns: np.ndarray) -> np.ndarray:
    """(N, 4) weights of photos that arrive once each, turned so, (N,)."""
    return np.eye(C4.order)[turns]


def plain_settings(
    out: Path,
    coco: tuple[str, str],
    detections: Sequence[str] | None,
    *,
    limit: int | None,
    device: str,
) -> EvaluateSettings:
    """What is evaluated.

    Args:
        out: run folder.
        coco: folder of photos, and their COCO JSON.
        detections: COCO-results JSONs made on the photos turned by 0, 90, 180 and 270 degrees; None
            for ground-truth boxes.
        limit: number of photos; None for all.
        device: where the segmenter runs.
    """
    images, annotations = coco
    prompts = PromptSettings()
    if detections is not None:
        by_angle = dict(zip(map(int, C4.names), detections, strict=True))
        prompts = PromptSettings(source="detections", file=by_angle, min_score=MIN_SCORE)
    return EvaluateSettings(
        out=str(out),
        data=DataSettings(images=images, annotations=annotations),
        prompts=prompts,
        methods=["none"],
        limit=limit,
        device=device,
        report=False,
    )
