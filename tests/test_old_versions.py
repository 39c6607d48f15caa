"""What samrot 0.1.0 wrote is still read: checkpoints and run folders, finished or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from samrot.canonicalizers import load_canonicalizer
from samrot.cli import main
from samrot.geometry.groups import C4
from tests.conftest import random_photo

# By 0.1.0, of random_photo(0, 48, 64).
LOGITS = [0.4707002639770508, 0.1259211003780365, 0.23573845624923706, 0.1018465980887413]
OLD = Path(__file__).parent / "fixtures" / "v0_1_0"
EVALUATE = [
    "evaluate", "--data.images", "scenes/images", "--data.annotations", "scenes/annotations.json",
    "--segmenter.name", "box", "--methods", "[none, oracle]", "--limit", "3",
    "--out", "evaluation",
]  # fmt: skip
TRAIN = [
    "train", "--data.images", "[scenes/images]", "--canonicalizer.architecture", "gcnn",
    "--canonicalizer.size", "17", "--canonicalizer.options", "{widths: [4, 8]}",
    "--optim.steps", "4", "--optim.batch_size", "4", "--optim.warmup_steps", "1",
    "--workers", "0", "--val_every", "2", "--optim.bfloat16", "false", "--out", "training",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, scenes_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where 0.1.0 ran, with the data that it ran on."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    shutil.copytree(scenes_folder, tmp_path / "scenes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkpoint_without_a_group_is_c4() -> None:
    canonicalizer = load_canonicalizer(OLD / "training" / "canonicalizer.safetensors")
    assert canonicalizer.group is C4
    logits = canonicalizer.logits(random_photo(0, 48, 64))
    expected = torch.tensor(LOGITS)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_a_finished_evaluation_prints_its_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("samrot.segmenters.SegmenterSettings.load", refuse)
    before = {path: path.read_bytes() for path in (folder / "evaluation").iterdir()}
    assert main(EVALUATE) == 0
    assert "| oracle | segm AP | 0." in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (folder / "evaluation").iterdir()} == before


def test_an_interrupted_evaluation_continues(folder: Path) -> None:
    run = folder / "evaluation"
    old = json.loads((run / "summary.json").read_text())
    (run / "summary.json").unlink()
    lines = (run / "photos.jsonl").read_text().splitlines(keepends=True)
    (run / "photos.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
    assert main(EVALUATE) == 0
    new = json.loads((run / "summary.json").read_text())
    assert_holds(new, {key: value for key, value in old.items() if key != "seconds"})


def assert_holds(new: Any, old: Any) -> None:
    """Everything that was there is there, and the same to rounding."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert_holds(new[key], value)
    elif isinstance(old, float):
        assert new == pytest.approx(old, abs=1e-12)
    else:
        assert new == old


def test_an_interrupted_training_continues(folder: Path) -> None:
    before = (folder / "training" / "log.csv").read_text()
    assert main(TRAIN) == 0
    log = (folder / "training" / "log.csv").read_text()
    assert log.startswith(before.splitlines()[0])
    assert [line.split(",")[0] for line in log.splitlines()[1:]] == ["2", "4"]
