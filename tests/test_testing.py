"""The public law test passes what commutes, and fails what does not."""

from __future__ import annotations

import pytest

from samrot.geometry.groups import C4, D4
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import SEGMENTERS, load_segmenter
from samrot.testing import assert_commutes
from tests.conftest import ThresholdSegmenter, small_d4

LIGHT = [name for name in SEGMENTERS if not name.startswith(("sam_vit", "transformers"))]


@pytest.mark.parametrize("name", LIGHT)
def test_bundled_segmenters_commute(name: str) -> None:
    assert_commutes(RobustPredictor(load_segmenter(name)), C4)
    assert_commutes(RobustPredictor(load_segmenter(name), small_d4()), D4)


def test_what_does_not_commute_is_caught(threshold_segmenter: ThresholdSegmenter) -> None:
    assert_commutes(RobustPredictor(threshold_segmenter), C4)
    with pytest.raises(AssertionError, match="masks do not commute with element 90 of C4"):
        assert_commutes(RobustPredictor(threshold_segmenter, None), C4)
    with pytest.raises(AssertionError, match="do not commute with element m0 of D4"):
        assert_commutes(RobustPredictor(threshold_segmenter), D4)
