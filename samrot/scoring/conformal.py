"""Sets of poses that hold the true one as often as is promised: split conformal prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LEVEL = 0.98  # one-sided: at 0.9, one pose is enough wherever accuracy is above it


def conformal_threshold(probability_of_truth: np.ndarray, level: float = LEVEL) -> float:
    """The probability at which a pose enters the set, so that the true one does at that level.

    Args:
        probability_of_truth: (N,) probability of the true pose of photos kept aside.
        level: share of photos like them whose set is to hold the true pose; 0..1.

    Returns:
        0 where the photos are too few to exclude anything.

    Source: Sadinle et al. 2019, least ambiguous sets; the finite-sample quantile of Vovk 2005.
    """
    excluded = int(np.floor((len(probability_of_truth) + 1) * (1 - level) + 1e-9))
    return 0.0 if excluded < 1 else float(np.sort(probability_of_truth)[excluded - 1])


def conformal_set(probabilities: np.ndarray, threshold: float) -> tuple[int, ...]:
    """The poses, of (|G|,) probabilities, that are not ruled out; the likeliest always is in it."""
    order = np.argsort(-probabilities, kind="stable")
    inside = [int(g) for g in order if probabilities[g] >= threshold]
    return tuple(inside or [int(order[0])])


def describe_sets(
    probabilities: Sequence[np.ndarray], true: Sequence[int], threshold: float | None
) -> dict[str, Any]:
    """What sets of poses come to on some photos.

    Args:
        probabilities: of each photo, (|G|,).
        true: its pose.
        threshold: of the sets; None if none was calibrated.

    Returns:
        ``level``; ``threshold``; ``coverage`` and ``mean_size`` at it, None without one; and
        ``threshold_of_these``, what these photos would calibrate.
    """
    sets = [] if threshold is None else [conformal_set(row, threshold) for row in probabilities]
    of_truth = np.array([row[g] for row, g in zip(probabilities, true, strict=True)])
    held = [g in found for found, g in zip(sets, true, strict=False)]
    return {
        "level": LEVEL,
        "threshold": threshold,
        "coverage": float(np.mean(held)) if held else None,
        "mean_size": float(np.mean([len(found) for found in sets])) if sets else None,
        "threshold_of_these": conformal_threshold(of_truth),
    }
