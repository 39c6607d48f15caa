"""The tools run as their docstrings say."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from PIL import Image
from studies.items import ITEMS
from studies.numbers import read_rows

from samrot import weights
from samrot.canonicalizers import load_canonicalizer
from samrot.cli import main
from samrot.model_card import read_weight_file
from tests.conftest import random_photo

TOOLS = Path(__file__).parents[1] / "tools"


class Run(Protocol):
    """Runs a tool here, as the command line would."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.syspath_prepend(TOOLS)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", list(arguments))
        capsys.readouterr()
        code: Any = 0
        try:
            runpy.run_path(str(TOOLS.parent / arguments[0]), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        is_number = isinstance(code, int)
        return subprocess.CompletedProcess(
            arguments, code if is_number else 1, printed.out, printed.err
        )

    return call


@pytest.mark.slow
@pytest.mark.filterwarnings("always:the .* was trained on:UserWarning")  # as it is here
def test_compare(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    images, annotations = str(scenes_folder / "images"), str(scenes_folder / "annotations.json")
    plain = [
        "evaluate", "--data.images", images, "--data.annotations", annotations,
        "--segmenter.name", "box", "--methods", "[none, canonical]",
        "--out", str(tmp_path / "plain"),
    ]  # fmt: skip
    assert main(plain) == 0
    done = run(
        "tools/compare.py", str(tmp_path / "out"), "--vary", "beta", "0.5",
        "--seeds", "0", "1", "--val-images", images, "--val-annotations", annotations,
        "--plain", str(tmp_path / "plain"), "--", "--data.images", f"[{images}]",
        "--limit", "3", "--optim.steps", "2", "--optim.batch_size", "2",
        "--canonicalizer.size", "33", "--canonicalizer.options", "{widths: [4, 8]}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "compare.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines] == [
        "| beta",
        "|---|---|---|---|---|---|---|---|---|",
        "| 0.5",
    ]
    assert " +- " in lines[2]
    assert (tmp_path / "out" / "compare.png").stat().st_size > 1000
    page = (tmp_path / "out" / "report.html").read_text()
    assert "beta compared" in page
    assert "data:image/jpeg" in page
    refused = run(
        "tools/compare.py", str(tmp_path / "bad"), "--vary", "beta", "bad", "--seeds", "0",
        "--val-images", images, "--val-annotations", annotations, "--",
        "--data.images", f"[{images}]",
    )  # fmt: skip
    assert refused.returncode == 2
    assert '"beta"' in refused.stderr


@pytest.mark.slow
def test_benchmark(tmp_path: Path, run: Run) -> None:
    done = run(
        "tools/benchmark.py", str(tmp_path), "--only", "canonicalizer", "stages",
        "--repeats", "1", "--photos", "1", "--sam", "sam_mini",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| samrot c4, unsure |" in (tmp_path / "benchmark.md").read_text()
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert content["canonicalizer"]["samrot c4, unsure"][0] > 0
    stages = content["stages"]
    parts = [stages[name][0] for name in ("read", "canonicalize", "encode", "decode", "record")]
    assert 0 < sum(parts) < 1.05 * stages["the whole"][0]
    refused = run("tools/benchmark.py", str(tmp_path), "--only", "masks")
    assert refused.returncode == 2
    assert "masks needs --data" in refused.stderr


@pytest.mark.slow
def test_compare_versions(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    """This version against itself, and against one whose scores are off."""
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(TOOLS.parent / "samrot", other / "samrot")
    segmenter = other / "samrot" / "segmenters" / "mask_only.py"
    text = segmenter.read_text()
    assert "scores=torch.ones(len(masks), 1)" in text
    segmenter.write_text(text.replace("scores=torch.ones(", "scores=0.75 * torch.ones("))

    def compare(base: Path, head: Path) -> subprocess.CompletedProcess[str]:
        return run(
            "tools/compare_versions.py", str(base), str(head), "--out", str(out),
            "--images", str(scenes_folder / "images"),
            "--annotations", str(scenes_folder / "annotations.json"), "--limit", "2",
            "--", "--segmenter.name", "box",
        )  # fmt: skip

    same = compare(TOOLS.parent, TOOLS.parent)
    assert same.returncode == 0, same.stderr
    assert "| none | masks | 8 | 0 | 0 | - | - |" in same.stdout
    assert "8 | 0 | 0 |" in (out / "compare_versions.md").read_text()
    shutil.rmtree(out / "head")
    kept = (out / "base" / "records.jsonl").stat().st_mtime_ns
    different = compare(TOOLS.parent, other)
    assert (out / "base" / "records.jsonl").stat().st_mtime_ns == kept
    assert different.returncode == 1, different.stderr
    assert "| none | masks | 8 | 0 | 0 | - | - |" in different.stdout
    assert "| canonical | scores | 8 | 8 |" in different.stdout
    assert "| 0.25 | photo 1 at 0 |" in different.stdout
    assert compare(tmp_path / "nothing", other).returncode != 0


@pytest.mark.filterwarnings("always:the .* was trained on:UserWarning")
def test_draw_pictures(tmp_path: Path, run: Run) -> None:
    drawn = ["symmetries", "turned", "rotated_boxes"]
    done = run("tools/draw_pictures.py", str(tmp_path / "pictures"), "--only", *drawn)
    assert done.returncode == 0, done.stderr
    for name in drawn:
        own, kept = (
            np.asarray(Image.open(folder / f"{name}.jpg"), dtype=float)
            for folder in (tmp_path / "pictures", TOOLS.parent / "docs" / "pictures")
        )
        assert own.shape == kept.shape
        assert np.abs(own - kept).mean() < 1


def test_bundle_weights(tmp_path: Path, run: Run) -> None:
    target = tmp_path / "bundled.safetensors"
    source = TOOLS.parent / "samrot" / "pretrained" / "canonicalizer_c4.safetensors"
    done = run(
        "tools/bundle_weights.py", str(source), str(target),
        "--data", "photos of ours", "--licence", "Apache-2.0", "--accuracy", '{"pose": 0.5}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, header = weights.load(target, format_name="samrot-canonicalizer")
    assert header["data"] == "photos of ours"
    assert read_weight_file(target).card.accuracy == {"pose": 0.5}
    photo = random_photo(0, 40, 60)
    expected = load_canonicalizer(source).logits(photo)
    assert torch.equal(load_canonicalizer(target).logits(photo), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("always:the .* was trained on:UserWarning")  # as it is here
def test_study(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    images, annotations = str(scenes_folder / "images"), str(scenes_folder / "annotations.json")
    out, labels = tmp_path / "out", tmp_path / "labels.csv"
    labels.write_text("file,label\nscenes/scene_0001.png,1\nscenes/scene_0002.png,-1\n")
    trained = run(
        "tools/study.py", str(out), "--train", "--quick", "--data", images,
        "--masked", images, annotations, "--jobs", "2", "--device", "cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    done = run(
        "tools/study.py", str(out), "--quick", "--photos", images, "--coco", images, annotations,
        "--labels", str(labels), "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    found = {path.stem: read_rows(path) for path in (out / "study").glob("*.csv")}
    assert set(found) == set(ITEMS)
    for rows in found.values():
        for row in rows:
            assert row["commit"]
            if row["low"]:
                assert float(row["low"]) <= float(row["high"])
    values = {
        (row["canonicalizer"], row["upright share"], row["policy"], row["quantity"]): row["value"]
        for row in found["traffic"]
    }
    assert float(values["c4", "0.75", "none", "errors"]) == 0.25
    assert float(values["c4", "1.0", "pose_prior", "errors"]) == 0, "all are known to be upright"
    assert float(values["c4", "0.25", "none", "AP less none's"]) == 0
    numbers = {row["which"]: row["photos"] for row in found["literature"]}
    assert (numbers["in their test set"], numbers["left out there"]) == ("1", "1")
    turned = {(row["canonicalizer"], row["turned by"]) for row in found["literature"]}
    assert {("c4", "quarter turns"), ("c4", "any angle"), ("so2", "any angle")} <= turned


def test_a_study_says_what_it_needs(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    images = str(scenes_folder / "images")
    for arguments, message in (
        (["--photos", str(tmp_path / "none")], "does not exist"),
        (["--photos", images, "--only", "expressivity"], "run --train first"),
        (["--photos", images, "--only", "protocols"], "needs --coco"),
        ([], "expected --photos FOLDER"),
    ):
        refused = run("tools/study.py", str(tmp_path / "bad"), "--quick", *arguments)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_a_training_that_fails_is_named(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    failed = run(
        "tools/study.py", str(tmp_path), "--train", "--quick", "--only", "prior_strength",
        "--data", str(scenes_folder / "images"),
    )  # fmt: skip
    assert failed.returncode == 1
    assert "'beta': 0.001, 'seed': 0} failed (2)" in failed.stderr
    logs = [path.read_text() for path in (tmp_path / "trained").glob("*.log")]
    assert len(logs) == 2
    assert all("need --masked" in log for log in logs)


def test_measure_bursts(scenes_folder: Path, run: Run) -> None:
    done = run(
        "tools/measure_bursts.py", "--images", str(scenes_folder / "images"), "--limit", "2",
        "--numbers", "1", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [(row[0], row[1]) for row in rows] == [("| 1", "4"), ("| 2", "2")]
    assert all(0 <= float(row[2]) <= 1 for row in rows)


def write_run(folder: Path, correct: list[list[bool]]) -> str:
    """A finished evaluation of a classifier, whose method is ``none``; its folder."""
    folder.mkdir()
    records = [
        {
            "image_id": number,
            "label": 1,
            "methods": {
                "none": {k: {"predicted": int(is_right)} for k, is_right in enumerate(row)}
            },
        }
        for number, row in enumerate(correct)
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return str(folder)


def test_compare_accuracy(tmp_path: Path, run: Run) -> None:
    """Means over seeds, and differences of photos that are resampled alike."""
    tool = "tools/compare_accuracy.py"
    good = [write_run(tmp_path / f"good_{n}", [[True, n < 1]] * 8) for n in range(2)]
    bad = write_run(tmp_path / "bad", [[True, False]] * 4 + [[False, False]] * 4)
    done = run(tool, "--row", "good", "none", *good, "--row", "bad", "none", bad)
    assert done.returncode == 0, done.stderr
    assert "| good | 1.0000 (1.0000 to 1.0000) | 0.5000 (0.0000 to 1.0000) | 0.7500 " in done.stdout
    assert "| good - bad | 0.5000 (" in done.stdout
    short = write_run(tmp_path / "short", [[True, True]])
    for method, of_runs, message in (
        ("none", short, "runs are of [1, 8] items"),
        ("none", str(tmp_path), "no finished run"),
        ("canonical", bad, "expected accuracies of 'canonical'"),
    ):
        refused = run(tool, "--row", "a", "none", *good, "--row", "b", method, of_runs)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert message in refused.stderr
