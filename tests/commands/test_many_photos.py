"""``samrot segment`` and ``upright`` over many photos: continued, shared, from anywhere."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from samrot.cli import main
from samrot.geometry.pose import Pose
from tests.conftest import SourceOfPoses, random_photo

BOX = ["--segmenter.name", "box", "--box", "3", "4", "20", "19"]


@pytest.fixture
def poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every photo be turned by 90 degrees, which no network needs to find."""
    probabilities = np.array([0.01, 0.97, 0.01, 0.01])
    monkeypatch.setattr(
        "samrot.canonicalizers.CanonicalizerChoice.load",
        lambda *_: SourceOfPoses(Pose(1, probabilities=probabilities)),
    )
    # What a run asks of the checkout takes longer than the run.
    monkeypatch.setattr("samrot.runtime.run_folder.describe_environment", dict)


def write_photos(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for n in range(count):
        Image.fromarray(random_photo(n, 24, 32)).save(folder / f"{n}.png")
    return folder


def masks(folder: Path) -> dict[str, bytes]:
    """What was written for each photo."""
    files = [path for path in folder.rglob("*.*") if path.parent != folder]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_one_bad_photo_in_ten(
    poses: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and tried again when it was mended; the others are not done again."""
    photos, out = write_photos(tmp_path / "photos", 10), tmp_path / "out"
    whole = (photos / "7.png").read_bytes()
    (photos / "7.png").write_bytes(whole[:60])
    command = ["segment", str(photos), *BOX, "--out", str(out)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "9 objects; masks and overlays" in captured.out
    assert captured.err.count("samrot: failed: ") == 1
    assert "7.png cannot be decoded" in captured.err
    first = masks(out)
    (photos / "7.png").write_bytes(whole)
    (photos / "0.png").unlink()  # is gone from the results, and would fail if it were read
    assert main(command) == 0
    assert masks(out).items() > first.items()
    index = json.loads((out / "index.json").read_text())
    assert [photo["file_name"] for photo in index["photos"]] == [f"{n}.png" for n in range(1, 10)]
    capsys.readouterr()
    monkeypatch.delattr("samrot.commands.segment.SegmentWorker")  # finished: no model is loaded
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "9 objects" in captured.out
    assert "was complete; nothing is run" in captured.err


def test_from_a_storage_to_a_storage(poses: None, tmp_path: Path) -> None:
    """The masks of a folder, by whatever way its photos are named."""
    photos = write_photos(tmp_path / "photos", 3)
    memory = fsspec.filesystem("memory")
    memory.put(str(photos), "/many/photos", recursive=True)
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in photos.iterdir():
            tar.add(path, path.name)
        tar.addfile(tarfile.TarInfo("0.cls"), io.BytesIO())
    memory.put(str(tmp_path / "shard.tar"), "/many/shard.tar")
    (tmp_path / "list.txt").write_text(
        "memory://many/photos/0.png\n" + "".join(f"file://{photos}/{n}.png\n" for n in (1, 2))
    )
    segmented: dict[str, Any] = {}
    for number, source in enumerate((
        str(photos), f"file://{photos}", "memory://many/photos", "memory://many/photos/*.png",
        str(tmp_path / "shard.tar"), "memory://many/shard.tar", str(tmp_path / "list.txt"),
    )):  # fmt: skip
        out = tmp_path / f"out_{number}"
        assert main(["segment", source, *BOX, "--out", str(out)]) == 0
        found = json.loads((out / "annotations.json").read_text())
        segmented[source] = (
            [(image["width"], image["height"]) for image in found["images"]],
            [annotation["segmentation"] for annotation in found["annotations"]],
        )
    assert len(segmented[str(photos)][1]) == 3
    assert all(found == segmented[str(photos)] for found in segmented.values())
    command = ["segment", "memory://many/photos", *BOX, "--out", str(tmp_path / "remote")]
    assert main([*command, "--results", "memory://many/photos/masks"]) == 0
    assert main([*command, "--results", "memory://many/photos/masks"]) == 0  # they are none
    for name in ("0/mask_000.png", "0/overlay.png", "annotations.json"):
        content = memory.cat_file(f"/many/photos/masks/{name}")
        assert content == (tmp_path / "out_2" / name).read_bytes()
    assert not (tmp_path / "remote" / "0").exists()
    command = ["upright", "memory://many/photos/0.png", "--write", "exif"]
    results = ["--out", str(tmp_path / "tags"), "--results", "memory://many/upright"]
    assert main([*command, *results]) == 0
    copy = memory.cat_file("/many/upright/photos/0.png")
    assert Image.open(io.BytesIO(copy)).getexif()[0x0112] == 6  # moved by element 1
    assert main([*command, "--in_place", "--out", str(tmp_path / "no")]) == 2


def test_sources_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn.tar").write_bytes(b"no tar")
    (tmp_path / "up.txt").write_text("../x.png\n")
    for source, message in (
        ("memory://nowhere/x.png", "memory://nowhere/x.png does not exist, or holds no photo"),
        ("", "images is ['']; expected a list of files, folders and patterns"),
        ("nothing://x", "nothing://x cannot be reached (Protocol not known: nothing"),
        (str(tmp_path / "torn.tar"), "torn.tar cannot be read as a tar file"),
        (str(tmp_path / "none.tar"), "none.tar does not exist; expected a tar file"),
        (str(tmp_path / "up.txt"), "../x.png leads out of its folder"),
    ):
        assert main(["segment", source, *BOX, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_change_in_place_that_was_not_recorded(poses: None, tmp_path: Path) -> None:
    """A kill came between the change and its record: the photo is not turned twice."""
    photos, out = write_photos(tmp_path / "photos", 2), tmp_path / "out"
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    command = ["upright", str(photos), "--write", "pixels", "--in_place", "--out", str(out)]
    assert main(command) == 0
    table = (out / "upright.json").read_text()
    after = {path.name: path.read_bytes() for path in photos.iterdir()}
    (out / "records.jsonl").unlink()
    (out / "summary.json").unlink()
    assert main(command) == 0
    assert (out / "upright.json").read_text() == table
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == after
    assert main(["upright", "--undo", str(out / "undo.jsonl")]) == 0
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.slow
def test_killed_and_continued_by_two_processes(tmp_path: Path) -> None:
    photos, out = write_photos(tmp_path / "photos", 12), tmp_path / "out"
    command = ["segment", str(photos), *BOX]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = [sys.executable, "-m", "samrot", *command, "--out", str(out)]
    process = subprocess.Popen(killed, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (out / "records.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = (out / "records.jsonl").read_text().count("\n")
    (photos / "2.png").write_bytes(b"bad")
    continued = subprocess.run(
        [*killed, "--devices", "2"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert continued.returncode == (done <= 2), continued.stderr
    assert continued.stderr.count("2.png cannot be decoded") == (done <= 2)
    assert main([*command, "--out", str(tmp_path / "whole")]) == 1
    assert masks(out).items() >= masks(tmp_path / "whole").items()
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert len({record["name"] for record in records}) == len(records) == 12
