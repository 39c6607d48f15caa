"""Every rename of a run fails in turn, or a kill comes before it: the same command goes on.

In the style of SQLite's crash and I/O-error harness: what a kill would leave on the disk at each
rename is copied away while a run goes on, and each copy is then continued.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samrot.commands.rotate_coco import rotate_coco
from samrot.commands.segment import SegmentSettings, segment
from samrot.commands.upright import UprightSettings, upright
from samrot.data.coco import DataSettings
from samrot.data.photos import PhotoSettings
from samrot.errors import InputError
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.geometry.pose import Pose
from samrot.runtime.records import RecordAppender
from samrot.segmenters import SegmenterSettings
from samrot.training.fit_settings import OptimSettings
from samrot.training.train import train
from samrot.training.train_settings import CanonicalizerSettings, TrainSettings
from tests.conftest import SourceOfPoses, random_photo, write_coco

Run = Callable[[Path], object]
RENAME = os.replace


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny photos, with an object each."""
    square: dict[str, Any] = {"category_id": 1, "bbox": [2, 3, 9, 8], "area": 72, "iscrowd": 0}
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 24} for n in (1, 2)],
        "annotations": [
            {**square, "id": n, "image_id": n, "segmentation": [[2, 3, 11, 3, 11, 11, 2, 11]]}
            for n in (1, 2)
        ],
        "categories": [{"id": 1, "name": "square"}],
    }
    folder = tmp_path_factory.mktemp("faults") / "data"
    write_coco(folder, content, {f"{n}.png": random_photo(n, 20, 24) for n in (1, 2)})
    return folder


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the revision by each run, which takes longer than the run."""
    monkeypatch.setattr("samrot.runtime.run_folder.describe_environment", dict)


@pytest.fixture(params=["evaluate", "train", "rotate-coco", "segment", "upright"])
def run(request: pytest.FixtureRequest, data: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Work that a command does in a folder."""
    turned = SourceOfPoses(Pose(1, probabilities=np.array([0.01, 0.97, 0.01, 0.01])))
    monkeypatch.setattr("samrot.canonicalizers.CanonicalizerChoice.load", lambda *_: turned)
    coco = DataSettings(images=str(data / "images"), annotations=str(data / "annotations.json"))
    photos = PhotoSettings(images=[str(data / "images")])
    network = CanonicalizerSettings(architecture="gcnn", size=9, options={"widths": [1, 2]})
    optim = OptimSettings(steps=2, batch_size=2, ema_decay=0.5)
    return {
        "evaluate": lambda out: evaluate(EvaluateSettings(
            data=coco, out=str(out), segmenter=SegmenterSettings(name="box"), methods=["none"],
            angles=[0, 90],
        )),
        "train": lambda out: train(TrainSettings(
            data=photos, val=photos, out=str(out), canonicalizer=network, optim=optim, workers=0,
            val_every=1,
        )),
        "rotate-coco": lambda out: rotate_coco(
            coco.images, str(out), ["90", "m0"], coco.annotations
        ),
        "segment": lambda out: segment(SegmentSettings(
            images=photos.images, out=str(out), segmenter=SegmenterSettings(name="box"),
            box=[2, 3, 11, 11],
        )),
        "upright": lambda out: upright(UprightSettings(
            images=photos.images, out=str(out), write="exif",
        )),
    }[request.param]  # fmt: skip


# Files that name the folder, or the time that the run took.
_OF_THE_MOMENT = (
    "config.yaml", "environment.json", ".lock", "summary.md", "report.html", "inputs.json",
)  # fmt: skip


def results(out: Path) -> dict[str, Any]:
    """The content of a finished run that is a function of its settings."""
    names = [p for p in sorted(out.rglob("*")) if p.is_file()]
    found: dict[str, Any] = {}
    for path in names:
        name = str(path.relative_to(out))
        assert not name.endswith(".partial")
        if name in _OF_THE_MOMENT:
            continue
        if name in ("summary.json", "records.jsonl"):
            lines = path.read_text().splitlines() if "jsonl" in name else [path.read_text()]
            found[name] = [{**json.loads(line), "seconds": None} for line in lines]
        elif path.suffix == ".pt":  # the bytes of a pickle depend on what shares a string
            state = torch.load(path, weights_only=True)
            found[name] = {key: tensor.tolist() for key, tensor in state["model"].items()}
        else:
            found[name] = path.read_bytes()
    return found


@pytest.mark.slow
def test_killed_at_every_rename(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, copies = tmp_path / "whole", []

    def copy() -> None:
        copies.append(tmp_path / f"killed_{len(copies)}")
        shutil.copytree(whole, copies[-1])

    def rename(*paths: Any) -> None:
        copy()
        RENAME(*paths)

    append = RecordAppender.append

    def append_half(appender: RecordAppender, record: Any) -> None:
        append(appender, record)
        copy()
        with (copies[-1] / appender.path.name).open("r+b") as file:
            file.truncate(appender.path.stat().st_size // 2)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", rename)
        patch.setattr(RecordAppender, "append", append_half)
        run(whole)
    expected = results(whole)
    assert len(copies) >= 4
    for out in copies:
        run(out)
        assert results(out) == expected, out.name


def failing_renames() -> Iterator[tuple[Callable[..., None], list[str]]]:
    """For each n a rename that fails the n-th time; ends where a run has fewer renames."""
    n, failed = 0, ["first"]
    while failed:
        failed = []
        calls = iter(range(n + 1))

        def rename(source: Any, target: Any, calls: Any = calls, failed: Any = failed) -> None:
            if next(calls, None) is None and not failed:
                failed.append(str(target))
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            RENAME(source, target)

        yield rename, failed
        n += 1


@pytest.mark.slow
def test_a_full_disk_at_every_rename(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    for number, (rename, failed) in enumerate(failing_renames()):
        out = tmp_path / f"full_{number}"
        with monkeypatch.context() as patch, suppress(OSError):
            patch.setattr(os, "replace", rename)
            run(out)
        if failed:
            assert not list(out.rglob("*.partial"))
            run(out)
        assert results(out) == expected, failed


@pytest.mark.parametrize("line", ["\n", '{"image_id": 1, "meth\n', "[1]\n", "\udcff\n"])
def test_torn_lines_among_the_records(line: str, data: Path, tmp_path: Path) -> None:
    settings = EvaluateSettings(
        data=DataSettings(images=str(data / "images"), annotations=str(data / "annotations.json")),
        out=str(tmp_path / "run"), segmenter=SegmenterSettings(name="box"), methods=["none"],
    )  # fmt: skip
    evaluate(settings)
    expected = results(tmp_path / "run")
    records = tmp_path / "run" / "records.jsonl"
    _, second = records.read_text().splitlines(keepends=True)
    (tmp_path / "run" / "summary.json").write_text('{"dataset": {"ima')  # torn, and made again
    records.write_text(line + second, errors="surrogateescape")
    evaluate(settings)
    assert results(tmp_path / "run") == expected


@pytest.mark.parametrize("name", ["config.yaml", "inputs.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_a_run_whose_settings_are_torn_is_one_line(
    name: str, content: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    files = (str(data / "images"), str(out), ["90"], str(data / "annotations.json"))
    rotate_coco(*files)
    (out / name).write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=rf"{name} is damaged, and the run cannot go on without"):
        rotate_coco(*files)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", "half", {"step": 1}, [1]])
def test_a_torn_training_state_is_one_line(content: object, data: Path, tmp_path: Path) -> None:
    photos = PhotoSettings(images=[str(data / "images")])
    settings = TrainSettings(
        data=photos, out=str(tmp_path / "run"), workers=0, val_every=1,
        canonicalizer=CanonicalizerSettings(
            architecture="gcnn", size=9, options={"widths": [1, 2]}
        ),
        optim=OptimSettings(steps=1, batch_size=2),
    )  # fmt: skip
    train(settings)
    expected = results(tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    if isinstance(content, bytes | str):
        whole = state.read_bytes()
        state.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    else:
        torch.save(content, state)
    with pytest.raises(InputError, match=r"state\.pt .*; .*or remove it to train from the first"):
        train(settings)
    state.unlink()
    (tmp_path / "run" / "log.csv").write_text("step,loss\n0\n\n1,2,3\nx\n")
    (tmp_path / "run" / "trained_on.json").write_text("")
    train(settings)
    assert results(tmp_path / "run") == expected
