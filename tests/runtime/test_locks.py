"""One run at a time in a folder; a killed one lets go, and takes its other processes with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samrot.cli import main
from samrot.errors import InputError
from samrot.runtime.locks import alone_in

HOLD = """
import sys, time
from pathlib import Path
from samrot.runtime.locks import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(InputError, match="in use by another samrot"):
        alone_in(tmp_path).__enter__()
    with alone_in(tmp_path):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="is in use by another samrot that still runs; wait"):
        alone_in(tmp_path).__enter__()
    process.kill()
    process.wait()
    with alone_in(tmp_path):
        pass


def evaluate_command(
    scenes_folder: Path, out: Path, *more: str, segmenter: str = "box"
) -> list[str]:
    return [
        "evaluate", "--data.images", str(scenes_folder / "images"),
        "--data.annotations", str(scenes_folder / "annotations.json"), "--out", str(out),
        "--segmenter.name", segmenter, "--methods", "[none]", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["evaluate", "train", "finetune"])
def test_a_second_run_in_the_same_folder_is_refused(
    command: str, scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, annotations = str(scenes_folder / "images"), str(scenes_folder / "annotations.json")
    out = tmp_path / "run"
    out.mkdir()
    quick = ["--optim.steps", "1", "--optim.batch_size", "2", "--workers", "0", "--out", str(out)]
    arguments = {
        "evaluate": evaluate_command(scenes_folder, out),
        "train": [
            "train", "--data.images", f"[{images}]", "--canonicalizer.architecture", "gcnn",
            "--canonicalizer.size", "17", "--canonicalizer.options", "{widths: [4, 8]}", *quick,
        ],
        "finetune": [
            "finetune", "--data.images", images, "--data.annotations", annotations,
            "--view_size", "64", *quick,
        ],
    }[command]  # fmt: skip
    with alone_in(out):
        assert main(arguments) == 2
    assert "is in use by another samrot that still runs" in capsys.readouterr().err
    assert main(arguments) == 0


@pytest.mark.slow
def test_the_other_processes_of_a_killed_run_end(scenes_folder: Path, tmp_path: Path) -> None:
    """Else they would go on, and write photos that the next run does again."""
    out = tmp_path / "run"
    command = evaluate_command(scenes_folder, out, "--devices", "2", segmenter="sam_mini")
    left_over = tmp_path / "left_over"
    left_over.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "samrot", *command], stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(left_over)},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(out.glob("records*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = _children(process.pid)
    assert children
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(_is_running(child) for child in children):
        assert time.monotonic() < deadline, "a process of the killed run goes on"
        time.sleep(0.1)
    assert not list(left_over.glob("samrot_*"))
    whole = tmp_path / "whole"
    for folder in (out, whole):
        assert main(evaluate_command(scenes_folder, folder, segmenter="sam_mini")) == 0
    records = (out / "records.jsonl").read_text().splitlines()
    assert [json.loads(record)["image_id"] for record in records] == [1, 2, 3, 4, 5, 6]
    killed, alone = (json.loads((f / "summary.json").read_text()) for f in (out, whole))
    assert killed["methods"] == alone["methods"]


def _children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def _is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_run_belongs_to_the_content_of_its_files(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = tmp_path / "annotations.json"
    content = json.loads((scenes_folder / "annotations.json").read_text())
    annotations.write_text(json.dumps(content))
    command = evaluate_command(scenes_folder, tmp_path / "run")
    command[4] = str(annotations)
    assert main(command) == 0
    assert main(command) == 0
    content["annotations"].pop()
    annotations.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(command) == 2
    assert "is not the file that the run in" in capsys.readouterr().err


def test_a_process_ends_whose_parent_is_gone_before_it_looks() -> None:
    code = "import time; from samrot.runtime import locks; locks.die_with_parent(0, print)"
    code += "; time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", code], timeout=50).returncode == 1
