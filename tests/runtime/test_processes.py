"""Two processes (gloo, CPU) do what one does; a process that dies takes the run with it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import samrot
from samrot.cli import main


def run_in_two_processes(*arguments: str, **environment: str) -> int:
    """One thread each, since sums of floats depend on how threads share them; the exit code."""
    return subprocess.run(
        [sys.executable, "-m", "samrot", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.DEVNULL,
        timeout=300,
    ).returncode


def run_in_one(*arguments: str) -> int:
    """The same here, with one thread too."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return main(arguments)
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.slow
def test_evaluation_gives_the_same_numbers(scenes_folder: Path, tmp_path: Path) -> None:
    summaries = []
    for devices, run in (("1", run_in_one), ("2", run_in_two_processes)):
        out = tmp_path / devices
        code = run(
            "evaluate", "--data.images", str(scenes_folder / "images"),
            "--data.annotations", str(scenes_folder / "annotations.json"), "--out", str(out),
            "--angles", "[90]", "--limit", "3", "--devices", devices,
        )  # fmt: skip
        assert code == 0
        summaries.append(json.loads((out / "summary.json").read_text()))
        summaries[-1].pop("seconds")
    assert summaries[0] == summaries[1]
    records = (tmp_path / "2" / "records.jsonl").read_text().splitlines()
    assert len({json.loads(record)["image_id"] for record in records}) == len(records) == 3
    assert not list((tmp_path / "2").glob("records_*"))  # merged
    for name in ("none_090.json", "canonical_090.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "finetune"])
def test_training_gives_the_same_weights(command: str, scenes_folder: Path, tmp_path: Path) -> None:
    images, annotations = str(scenes_folder / "images"), str(scenes_folder / "annotations.json")
    options = [
        "--optim.steps", "3", "--optim.batch_size", "4", "--optim.bfloat16", "false",
        "--optim.warmup_steps", "0", "--optim.ema_decay", "0.5", "--workers", "0",
        "--val_every", "3",
        # Adam divides by the gradient's size, and so makes the most of a rounding error.
        "--optim.learning_rate", "0.0001",
    ]  # fmt: skip
    if command == "train":
        options += ["--data.images", f"[{images}]", "--val.images", f"[{images}]"]
        options += ["--canonicalizer.architecture", "gcnn", "--canonicalizer.size", "33"]
    else:
        options += ["--data.images", images, "--data.annotations", annotations]
        options += ["--val.images", images, "--val.annotations", annotations]
        options += ["--segmenter.from_scratch", "true", "--view_size", "64", "--refine", "1.0"]
    states, logs = [], []
    for devices, run in (("1", run_in_one), ("2", run_in_two_processes)):
        out = tmp_path / devices
        assert run(command, *options, "--out", str(out), "--devices", devices) == 0
        states.append(torch.load(out / "state.pt", weights_only=True)["ema"])
        with (out / "log.csv").open(newline="") as file:
            logs.append(list(csv.DictReader(file)))
    for name, one in states[0].items():
        torch.testing.assert_close(states[1][name], one, rtol=0, atol=1e-4)
        assert (states[1][name] - one).double().abs().mean() < 2e-6
    assert [len(log) for log in logs] == [1, 1]
    for one, two in zip(*logs, strict=True):
        for name in {"loss", "val_pose_accuracy", "val_mean_iou"} & one.keys():
            assert float(one[name]) == pytest.approx(float(two[name]), rel=2e-3)


def deadly_detector(image: np.ndarray) -> samrot.Detections:
    """Ends the second process, as the system does when memory runs out."""
    if os.environ.get("LOCAL_RANK") == "1":
        os._exit(9)
    box = np.array([[2.0, 2.0, 30.0, 30.0]])
    return samrot.Detections(box, np.ones(1), np.ones(1, dtype=int))


@pytest.mark.slow
def test_a_process_that_dies_is_noticed(scenes_folder: Path, tmp_path: Path) -> None:
    arguments = [
        "evaluate", "--data.images", str(scenes_folder / "images"),
        "--data.annotations", str(scenes_folder / "annotations.json"),
        "--out", str(tmp_path / "run"), "--angles", "[0]", "--limit", "3", "--devices", "2",
        "--segmenter.name", "box", "--prompts.source", "detector",
        "--prompts.detector", f"{__name__}:deadly_detector",
    ]  # fmt: skip
    assert run_in_two_processes(*arguments, PYTHONPATH=str(Path(__file__).parents[2])) != 0
    assert not (tmp_path / "run" / "summary.json").exists()
    assert run_in_one(*arguments, "--devices", "1") == 0  # the same run, continued by one process
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["dataset"]["images"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["scene_0001.png", "scene_0002.png"])
def test_what_stops_one_of_two_is_said_once(
    broken: str, scenes_folder: Path, tmp_path: Path
) -> None:
    """By whichever process it is, and the table is printed once too."""
    folder = tmp_path / "data"
    shutil.copytree(scenes_folder, folder)
    whole = (folder / "images" / broken).read_bytes()
    command = [
        sys.executable, "-m", "samrot", "evaluate", "--data.images", str(folder / "images"),
        "--data.annotations", str(folder / "annotations.json"), "--out", str(tmp_path / "run"),
        "--segmenter.name", "box", "--methods", "[none]", "--devices", "2",
    ]  # fmt: skip
    mended = [(whole, 0)] if broken == "scene_0001.png" else []  # the same for both
    for content, code in ((whole[:60], 2), *mended):
        (folder / "images" / broken).write_bytes(content)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        said = [line for line in done.stderr.splitlines() if line.startswith("samrot: ")]
        assert [broken in line for line in said] == [True] * (code == 2)
        assert "Traceback" not in done.stderr
        assert done.stdout.count("| none | segm AP |") == (code == 0)


def test_devices_are_checked(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["evaluate", "--data.images", str(scenes_folder / "images"),
         "--data.annotations", str(scenes_folder / "annotations.json"),
         "--out", str(tmp_path / "run"), "--devices", "0"]
    )  # fmt: skip
    assert code == 2
    assert "devices is 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
