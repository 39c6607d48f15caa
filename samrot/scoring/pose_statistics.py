"""How well predicted poses agree with the poses that photos have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """A reliability curve: is a pose that is given 80 % right 80 % of the time?

    Args:
        confidence: (K,) mean confidence in each bin that holds anything.
        accuracy: (K,) share that is right there.
        count: (K,) predictions there.
        expected_error: mean distance between the two (ECE, Guo et al. 2017).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    expected_error: float

    def as_json(self) -> dict[str, Any]:
        """The curve, JSON-ready."""
        return {
            "confidence": self.confidence.tolist(),
            "accuracy": self.accuracy.tolist(),
            "count": self.count.tolist(),
            "expected_calibration_error": self.expected_error,
        }


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of two distributions over the poses, (|G|,) each, in nats; may be infinite."""
    seen = p > 0
    with np.errstate(divide="ignore"):
        return float((p[seen] * (np.log(p[seen]) - np.log(q[seen]))).sum())


def circular_wasserstein(p: np.ndarray, q: np.ndarray) -> float:
    """Earth mover's distance on the circle of poses, in quarter turns.

    Args:
        p, q: (|G|,), each sums to 1.
    Source: Werman et al. 1986: the circle is cut where the cumulated difference has its median.
    """
    flow = np.cumsum(p - q)
    return float(np.abs(flow - np.median(flow)).sum())


def circular_mmd(p: np.ndarray, q: np.ndarray, concentration: float = 1.0) -> float:
    """Maximum mean discrepancy of two distributions over evenly spaced turns.

    The kernel is that of von Mises, ``exp(concentration * (cos(angle) - 1))``, which is 1 for equal
    turns.

    Args:
        p, q: (|G|,), each sums to 1.
        concentration: how fast the kernel falls; large, it tells no wrong turn from another.

    Returns:
        The distance, not its square: 0 for equal distributions, below ``sqrt(2)``.
    Source: Gretton et al. 2012.
    """
    angles = 2 * np.pi * np.arange(len(p)) / len(p)
    kernel = np.exp(concentration * (np.cos(angles[:, None] - angles) - 1))
    return float(np.sqrt(max(0.0, (p - q) @ kernel @ (p - q))))


def wilson_error(share: float | None, count: int) -> float | None:
    """Standard error of a share of ``count``: half of Wilson's interval at one deviation.

    It is not 0 where all of them are right; None where there are none.
    Source: Wilson 1927.
    """
    if share is None or count == 0:
        return None
    return float(np.sqrt(share * (1 - share) * count + 0.25) / (count + 1))


def angle_statistics(errors_deg: np.ndarray) -> dict[str, float | None] | None:
    """How far estimated angles are from the true ones; None where there are none.

    Args:
        errors_deg: (N,) 0..180.

    Returns:
        ``median`` and ``mean``, degrees; ``within_5`` and ``within_45``, shares; and
        ``median_of_those``, degrees, of those within 45, or None.
    """
    if len(errors_deg) == 0:
        return None
    near = errors_deg[errors_deg <= 45]
    return {
        "median": float(np.median(errors_deg)),
        "mean": float(np.mean(errors_deg)),
        "within_5": float(np.mean(errors_deg <= 5)),
        "within_45": float(np.mean(errors_deg <= 45)),
        "median_of_those": float(np.median(near)) if len(near) else None,
    }


def reliability(confidence: np.ndarray, correct: np.ndarray, num_bins: int = 10) -> Reliability:
    """The reliability curve of some predictions.

    Args:
        confidence: (N,), 0..1, probability of the predicted pose.
        correct: (N,) bool.
        num_bins: number of bins of equal width between 0 and 1.
    """
    place = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    seen = count > 0
    means, shares = (
        np.bincount(place, weights=values, minlength=num_bins)[seen] / count[seen]
        for values in (confidence, correct.astype(float))
    )
    error = float((np.abs(means - shares) * count[seen]).sum() / max(1, len(confidence)))
    return Reliability(means, shares, count[seen], error)
