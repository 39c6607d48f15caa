"""Intervals and per-image AP of a run; the arithmetic itself is tested in ``tests/scoring``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samrot.cli import main
from samrot.data.coco import CocoDataset
from samrot.scoring import average_precision


def run(scenes_folder: Path, out: Path, *options: str) -> dict[str, Any]:
    code = main(
        [
            "evaluate", "--data.images", str(scenes_folder / "images"), "--segmenter.name", "box",
            "--data.annotations", str(scenes_folder / "annotations.json"), "--angles", "0,90",
            "--methods", "none,canonical", "--out", str(out), *options,
        ]
    )  # fmt: skip
    assert code == 0
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


@pytest.mark.slow
def test_intervals_of_a_run(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = run(scenes_folder, tmp_path)
    assert "intervals" not in without
    assert "95 %" not in capsys.readouterr().out
    summary = run(scenes_folder, tmp_path, "--bootstrap", "200")  # the records are kept
    assert summary["methods"] == without["methods"]
    found = summary["intervals"]
    assert (found["resamples"], found["confidence"]) == (200, 0.95)
    plain, canonical = (found["methods"][method] for method in ("none", "canonical"))
    for part in (plain["AP"], canonical["AP"]):
        low, high = part["average"]
        assert 0 <= low <= summary["methods"]["none"]["angles"]["0"]["AP"] <= high <= 1
        assert part["angles"]["0"] == part["angles"]["90"] == part["average"]
        assert part["retention"] == [1.0, 1.0]  # a filled box does not mind
    for method in ("none", "canonical"):  # of the views that were run, though no group is whole
        assert summary["methods"][method]["retention"] == 1.0
    assert canonical["AP"]["minus_none"]["average"] == [0.0, 0.0]
    assert "minus_none" not in plain["AP"]
    low, high = canonical["pose_accuracy"]
    assert low <= summary["methods"]["canonical"]["pose_accuracy"] <= high
    table = capsys.readouterr().out
    assert "95 % intervals, 200 paired resamples" in table
    assert "0.0000 to 0.0000 (holds 0)" in table
    assert "| average of 2 | retention |" in table
    assert not any(line.endswith("| - |") for line in table.splitlines() if "| segm AP |" in line)
    again = run(scenes_folder, tmp_path / "again", "--bootstrap", "200")
    assert again["intervals"] == found


def test_ap_per_image_is_the_mean_of_each_photos_own(scenes_folder: Path, tmp_path: Path) -> None:
    summary = run(scenes_folder, tmp_path)
    dataset = CocoDataset.load(scenes_folder / "images", scenes_folder / "annotations.json")
    results = json.loads((tmp_path / "none_000.json").read_text())
    alone = [
        average_precision(
            dataset.content,
            [result for result in results if result["image_id"] == image_id],
            [image_id],
            "segm",
        )["AP"]
        for image_id in dataset.image_ids
    ]
    expected = np.mean([value for value in alone if value is not None])
    assert summary["methods"]["none"]["angles"]["0"]["AP_per_image"] == pytest.approx(expected)
