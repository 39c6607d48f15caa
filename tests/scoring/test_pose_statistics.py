import numpy as np
import pytest

from samrot.scoring.pose_statistics import (
    circular_mmd,
    circular_wasserstein,
    kl_divergence,
    reliability,
    wilson_error,
)

UPRIGHT = np.array([1.0, 0, 0, 0])


def test_kl_divergence() -> None:
    even = np.full(4, 0.25)
    assert kl_divergence(UPRIGHT, even) == pytest.approx(np.log(4))
    assert kl_divergence(even, even) == 0
    assert kl_divergence(even, UPRIGHT) == np.inf


@pytest.mark.parametrize(("turns", "distance"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 1.0)])
def test_the_distance_goes_the_short_way_round(turns: int, distance: float) -> None:
    assert circular_wasserstein(UPRIGHT, np.roll(UPRIGHT, turns)) == pytest.approx(distance)
    assert circular_wasserstein(np.roll(UPRIGHT, turns), UPRIGHT) == pytest.approx(distance)


def test_the_distance_of_mixtures() -> None:
    mixed = np.array([0.7, 0.1, 0.1, 0.1])
    assert circular_wasserstein(UPRIGHT, mixed) == pytest.approx(0.1 + 2 * 0.1 + 0.1)


def test_the_discrepancy_by_hand() -> None:
    right, half = np.roll(UPRIGHT, 1), np.roll(UPRIGHT, 2)
    # k(0) + k(0) - 2 k(turn), of exp(cos - 1).
    assert circular_mmd(UPRIGHT, right) == pytest.approx(np.sqrt(2 - 2 * np.exp(-1)))
    assert circular_mmd(UPRIGHT, half) == pytest.approx(np.sqrt(2 - 2 * np.exp(-2)))
    assert circular_mmd(UPRIGHT, right) == pytest.approx(circular_mmd(half, right))
    assert circular_mmd(UPRIGHT, UPRIGHT) == 0
    assert circular_mmd(UPRIGHT, half, concentration=1e3) == pytest.approx(np.sqrt(2))
    # A tenth of the photos is moved by a half turn.
    mixed = 0.9 * UPRIGHT + 0.1 * half
    assert circular_mmd(UPRIGHT, mixed) == pytest.approx(0.1 * circular_mmd(UPRIGHT, half))


def test_reliability() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.45, 1.0])
    correct = np.array([True, True, True, False, True, True])
    curve = reliability(confidence, correct)
    np.testing.assert_array_equal(curve.count, [1, 5])
    np.testing.assert_allclose(curve.confidence, [0.45, 0.96])
    np.testing.assert_allclose(curve.accuracy, [1.0, 0.8])
    assert curve.expected_error == pytest.approx((0.55 + 5 * 0.16) / 6)


def test_wilson_error() -> None:
    assert wilson_error(1.0, 6) == pytest.approx(0.5 / 7)
    assert wilson_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)
    assert wilson_error(None, 3) is wilson_error(1.0, 0) is None
