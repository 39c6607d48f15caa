"""Runs killed at random moments, over and over: in the end the numbers of an uninterrupted run.

``SAMROT_KILLS=20`` says how often; without it these are skipped, for they take minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KILLS = int(os.environ.get("SAMROT_KILLS", "0"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KILLS, reason="takes minutes: set SAMROT_KILLS=20 to run it"),
]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "samrot", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run_with_kills(arguments: list[str], seed: int) -> int:
    """Run a command to its end, killed at moments drawn from those of a run; how many times."""
    random = np.random.default_rng(seed)
    whole_seconds, kills = 30.0, 0
    for _ in range(KILLS):
        process = start(arguments)
        begun = time.monotonic()
        try:
            process.wait(float(random.uniform(0, whole_seconds)))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.5)  # its other processes end with it
            continue
        assert process.returncode == 0
        whole_seconds = max(3.0, time.monotonic() - begun)
        break
    assert start(arguments).wait() == 0
    return kills


def evaluation(out: Path, scenes: Path, devices: int) -> list[str]:
    return [
        "evaluate", "--data.images", str(scenes / "images"),
        "--data.annotations", str(scenes / "annotations.json"), "--segmenter.name", "grabcut",
        "--methods", "none,canonical", "--devices", str(devices), "--out", str(out),
    ]  # fmt: skip


def training(out: Path, scenes: Path, devices: int) -> list[str]:
    return [
        "train", "--data.images", str(scenes / "images"), "--canonicalizer.architecture", "gcnn",
        "--canonicalizer.size", "33", "--optim.steps", "400", "--optim.batch_size", "8",
        "--val_every", "20", "--devices", str(devices), "--device", "cpu", "--out", str(out),
    ]  # fmt: skip


def numbers(summary: Path) -> dict[str, Any]:
    content = json.loads(summary.read_text())
    return {name: content[name] for name in ("dataset", "methods")}


@pytest.mark.parametrize("devices", [1, 2])
def test_evaluate(devices: int, scenes_folder: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(evaluation(whole, scenes_folder, devices)).wait() == 0
    kills = run_with_kills(evaluation(killed, scenes_folder, devices), devices)
    print(f"{kills} kills")
    assert numbers(killed / "summary.json") == numbers(whole / "summary.json")
    records = [json.loads(line) for line in (killed / "records.jsonl").read_text().splitlines()]
    assert len({record["image_id"] for record in records}) == len(records)


@pytest.mark.parametrize("devices", [1, 2])
def test_train(devices: int, scenes_folder: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(training(whole, scenes_folder, devices)).wait() == 0
    kills = run_with_kills(training(killed, scenes_folder, devices), devices)
    print(f"{kills} kills")
    name = "canonicalizer.safetensors"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()
