"""Words of messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from samrot.wording import counted, did_you_mean

PACKAGE = Path(__file__).parents[1] / "samrot"


def test_did_you_mean() -> None:
    assert did_you_mean("segmnt", ["segment", "train"]) == "; did you mean segment?"
    assert did_you_mean("xyz", ["segment", "train"]) == ""
    options = ["--everything", "--grid.points_per_side", "--segmenter.name", "--canonicalizer.name"]
    for typed, meant in (
        ("--everything.points_per_side", "--grid.points_per_side"),
        ("--points_per_side", "--grid.points_per_side"),
        ("--segmentor.name", "--segmenter.name"),
        ("--evrything", "--everything"),
    ):
        assert did_you_mean(typed, options) == f"; did you mean {meant}?"


def test_counted() -> None:
    assert [counted(n, "photo") for n in (0, 1, 2)] == ["0 photos", "1 photo", "2 photos"]
    assert counted(1, "class", "classes") == "1 class"
    assert counted(3, "class", "classes") == "3 classes"


@pytest.mark.parametrize("noun", ["photo", "burst", "cloud", "instance", "object"])
def test_things_are_counted_in_one_place(noun: str) -> None:
    spelled = re.compile(rf"\}} {noun}s\b")
    for path in PACKAGE.rglob("*.py"):
        assert not spelled.search(path.read_text()), path
