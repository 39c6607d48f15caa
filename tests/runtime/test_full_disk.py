"""A disk that is full: one line that names the file, nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from samrot import weights
from samrot.cli import main
from samrot.files import save_torch

resource = pytest.importorskip("resource", reason="the size of files can be limited on Unix only")


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can grow beyond that, which shows where it would be written as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("save", [weights.save_official, save_torch])
def test_a_checkpoint_stays_as_it_was(save: object, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save(path, {"w": torch.ones(3)})  # type: ignore[operator]
    kept = path.read_bytes()
    with files_up_to(len(kept)), pytest.raises(OSError, match=r"state\.pt") as caught:
        save(path, {"w": torch.ones(3000)})  # type: ignore[operator]
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_weights_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    weights.save(path, {"w": torch.ones(3)}, format_name="f", header={})
    kept = path.read_bytes()
    with files_up_to(len(kept)), pytest.raises(OSError, match=r"mine\.safetensors"):
        weights.save(path, {"w": torch.ones(3000)}, format_name="f", header={})
    assert path.read_bytes() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.slow
def test_an_evaluation_continues(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "evaluate", "--data.images", str(scenes_folder / "images"),
        "--data.annotations", str(scenes_folder / "annotations.json"),
        "--segmenter.name", "box", "--methods", "[none]", "--out",
    ]  # fmt: skip
    assert main([*command, str(tmp_path / "whole")]) == 0
    whole = tmp_path / "whole" / "records.jsonl"
    first = len(whole.read_text().splitlines()[0])
    with files_up_to(first + 40):
        assert main([*command, str(tmp_path / "full")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("samrot: error: File too large: ")
    assert error.endswith("records.jsonl")
    assert main([*command, str(tmp_path / "full")]) == 0
    summaries = [
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("full", "whole")
    ]
    for summary in summaries:
        summary.pop("seconds")
    assert summaries[0] == summaries[1]
