"""Batches that would not fit are refused, with a value that does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import samrot
from samrot.errors import InputError
from samrot.runtime import memory
from samrot.segmenters import SamSegmenter, check_memory
from tests.conftest import random_photo, small_sam

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@ON_LINUX
def test_what_work_takes() -> None:
    each = memory.bytes_of_each(lambda: np.ones((memory.SAMPLE, 50 << 20), np.uint8).sum())
    assert each == pytest.approx(50 << 20, rel=0.2)
    assert memory.free_bytes() > 0


def test_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited, limited = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    unlimited.write_text("max\n")
    limited.write_text("1000\n")
    monkeypatch.setattr(memory, "_kilobytes", lambda path, field: {"VmRSS": 300}.get(field, 5000))
    for paths, free in (((), 5000), ((unlimited,), 5000), ((unlimited, limited), 700)):
        monkeypatch.setattr(memory, "_LIMITS", tuple(map(str, paths)))
        assert memory.free_bytes() == free
    monkeypatch.setattr(memory, "_kilobytes", lambda path, field: None)
    assert memory.free_bytes() == 1000
    monkeypatch.setattr(memory, "_LIMITS", ())
    assert memory.free_bytes() is None


def test_a_batch_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 << 30)
    memory.check_batch("images_per_batch", 30, 2 << 30)
    message = (
        "^images_per_batch is 500, which takes about 20.0 GiB of the 3.0 GiB of memory that are "
        "free; set it to 60 or less$"
    )
    with pytest.raises(InputError, match=message):
        memory.check_batch("images_per_batch", 500, 20 << 30)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    memory.check_batch("images_per_batch", 500, 20 << 30)


def test_photos_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    class Counting(SamSegmenter):
        def encode_batch(self, images: Sequence[np.ndarray]) -> list[samrot.segmenters.Encoding]:
            batches.append(len(images))
            return super().encode_batch(images)

    photos, segmenter = [random_photo(n, 6, 8) for n in range(10)], Counting(small_sam())
    check_memory(segmenter, photos[:8], 8)
    assert batches == []  # few, which nobody needs to measure
    for _ in range(2):
        check_memory(segmenter, photos, 10)
    assert batches == [memory.SAMPLE]  # measured once
    monkeypatch.setattr("samrot.segmenters.protocol.bytes_of_each", lambda work: 2.0**30)
    monkeypatch.setattr(memory, "free_bytes", lambda: 5 << 30)
    predictor = samrot.RobustPredictor(SamSegmenter(small_sam()), None)
    boxes = [np.array([[1.0, 1, 5, 5]])] * 10
    with pytest.raises(InputError, match="images_per_batch is 10, .* set it to 4 or less"):
        predictor.predict_batch(photos, boxes, images_per_batch=10)
    assert len(predictor.predict_batch(photos, boxes, images_per_batch=4)) == 10
