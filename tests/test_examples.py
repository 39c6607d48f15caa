"""The examples run as their docstrings say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shown", "arguments", "expected"),
    [
        ("-m examples.detector", ["PHOTO"], "["),
        ("examples/robust_predictor.py", ["PHOTO", "40", "40", "200", "200"], "predicted IoU"),
        ("examples/batch.py", ["40", "40", "200", "200", "PHOTO", "PHOTO"], "predicted IoU"),
        ("examples/mask_generator.py", ["PHOTO", "6"], "predicted IoU"),
        ("examples/train_point_classifier.py", ["5"], "scores change by at most"),
    ],
)
def test_example(
    shown: str,
    arguments: list[str],
    expected: str,
    scenes_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(EXAMPLES / f"{shown.rpartition('.')[2]}.py" if shown[0] == "-" else ROOT / shown)
    photo = str(scenes_folder / "images" / "scene_0001.png")
    monkeypatch.setattr(sys, "argv", [path, *(photo if a == "PHOTO" else a for a in arguments)])
    runpy.run_path(path, run_name="__main__")
    assert expected in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [path])
    with pytest.raises(SystemExit) as usage:
        runpy.run_path(path, run_name="__main__")
    assert f"python {shown} " in str(usage.value.code)


def test_notebook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = json.loads((EXAMPLES / "robust_predictor.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    printed = capsys.readouterr().out
    assert "turned by 90 degrees" in printed
    assert "identical: True" in printed
