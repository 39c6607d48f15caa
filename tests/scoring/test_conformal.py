"""Sets of poses that hold the true one as often as is promised."""

from __future__ import annotations

import numpy as np
import pytest

from samrot.scoring.conformal import conformal_set, conformal_threshold, describe_sets


def draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities over four poses, and a true pose drawn from a flatter distribution."""
    rows = rng.dirichlet([0.3] * 4, number)
    flat = 0.7 * rows + 0.3 / 4
    return rows, np.array([rng.choice(4, p=row) for row in flat])


@pytest.mark.parametrize("level", [0.9, 0.98])
def test_sets_hold_what_was_promised(level: float) -> None:
    """However wrong the probabilities are, as long as both sets of photos are alike."""
    rng = np.random.default_rng(0)
    coverages = []
    for _ in range(40):
        rows, true = draw(rng, 400)
        of_truth = rows[np.arange(400), true]
        threshold = conformal_threshold(of_truth, level)
        rows, true = draw(rng, 200)
        sets = [conformal_set(row, threshold) for row in rows]
        coverages.append(np.mean([g in found for found, g in zip(sets, true, strict=True)]))
    assert np.mean(coverages) == pytest.approx(level, abs=0.01)


def test_small_cases() -> None:
    assert conformal_threshold(np.array([0.2, 0.9, 0.5]), 0.98) == 0  # too few to exclude any
    assert conformal_threshold(np.array([0.2, 0.9, 0.5]), 0.5) == 0.5
    assert conformal_set(np.array([0.1, 0.6, 0.05, 0.25]), 0.1) == (1, 3, 0)
    assert conformal_set(np.array([0.25, 0.25, 0.25, 0.25]), 0.5) == (0,)
    rows = [np.array([0.8, 0.2]), np.array([0.4, 0.6])]
    assert describe_sets(rows, [0, 0], None)["coverage"] is None
    found = describe_sets(rows, [0, 0], 0.3)
    assert (found["coverage"], found["mean_size"], found["threshold_of_these"]) == (1.0, 1.5, 0)
