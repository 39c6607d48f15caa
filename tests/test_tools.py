"""The tools run as their docstrings say."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

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
@pytest.mark.filterwarnings("always:.* are among those that:UserWarning")  # as it is here
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
    assert "| samrot c4 |" in (tmp_path / "benchmark.md").read_text()
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert content["canonicalizer"]["samrot c4"][0] > 0
    stages = content["stages"]
    parts = [stages[name][0] for name in ("read", "canonicalize", "encode", "decode", "record")]
    assert 0 < sum(parts) < 1.05 * stages["the whole"][0]
    refused = run("tools/benchmark.py", str(tmp_path), "--only", "masks")
    assert refused.returncode == 2
    assert "masks needs --data" in refused.stderr


@pytest.mark.slow
def test_compare_versions(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    """This version against itself, and against one whose scores are off."""
    other = tmp_path / "other"
    shutil.copytree(TOOLS.parent / "samrot", other / "samrot")
    segmenter = other / "samrot" / "segmenters" / "mask_only.py"
    text = segmenter.read_text()
    assert "scores=torch.ones(len(masks), 1)" in text
    segmenter.write_text(text.replace("scores=torch.ones(", "scores=0.75 * torch.ones("))

    def compare(base: Path, head: Path, out: str) -> subprocess.CompletedProcess[str]:
        return run(
            "tools/compare_versions.py", str(base), str(head), "--out", str(tmp_path / out),
            "--images", str(scenes_folder / "images"),
            "--annotations", str(scenes_folder / "annotations.json"), "--limit", "2",
            "--", "--segmenter.name", "box",
        )  # fmt: skip

    same = compare(TOOLS.parent, TOOLS.parent, "same")
    assert same.returncode == 0, same.stderr
    assert "| none | masks | 8 | 0 | 0 | - | - |" in same.stdout
    different = compare(TOOLS.parent, other, "different")
    assert different.returncode == 1, different.stderr
    assert "| none | masks | 8 | 0 | 0 | - | - |" in different.stdout
    assert "| canonical | scores | 8 | 8 |" in different.stdout
    assert "| 0.25 | photo 1 at 0 |" in different.stdout
    assert "8 | 0 | 0 |" in (tmp_path / "same" / "compare_versions.md").read_text()
    assert compare(tmp_path / "nothing", other, "bad").returncode != 0


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
def test_study(scenes_folder: Path, tmp_path: Path, run: Run) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\nscenes/scene_0001.png,1\nscenes/scene_0002.png,-1\n")
    command = [
        "tools/study.py", str(tmp_path / "out"), "--photos", str(scenes_folder / "images"),
        "--labels", str(labels), "--only", "traffic", "coverage", "literature", "--quick",
    ]  # fmt: skip
    done = run(*command)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "traffic.csv").open(newline="") as file:
        rows = {
            (row["canonicalizer"], row["upright share"], row["policy"]): row
            for row in csv.DictReader(file)
        }
    assert float(rows["c4", "0.75", "none"]["value"]) == 0.25
    assert float(rows["c4", "1.0", "pose_prior"]["value"]) == 0, "all are known to be upright"
    for row in rows.values():
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
        assert row["commit"]
    with (tmp_path / "out" / "literature.csv").open(newline="") as file:
        numbers = {row["photos"]: row["number"] for row in csv.DictReader(file)}
    assert (numbers["in their test set"], numbers["left out there"]) == ("1", "1")
    refused = run("tools/study.py", str(tmp_path / "bad"), "--photos", str(tmp_path / "none"))
    assert refused.returncode == 2
    assert "does not exist" in refused.stderr


def test_measure_bursts(scenes_folder: Path, run: Run) -> None:
    done = run(
        "tools/measure_bursts.py", "--images", str(scenes_folder / "images"), "--limit", "2",
        "--numbers", "1", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [(row[0], row[1]) for row in rows] == [("| 1", "4"), ("| 2", "2")]
    assert all(0 <= float(row[2]) <= 1 for row in rows)
