"""The examples run as their docstrings say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "examples.detector", "PHOTO"], "["),
        (["examples/robust_predictor.py", "PHOTO", "40", "40", "200", "200"], "predicted IoU"),
        (["examples/batch.py", "40", "40", "200", "200", "PHOTO", "PHOTO"], "predicted IoU"),
        (["examples/mask_generator.py", "PHOTO", "6"], "predicted IoU"),
        (["examples/train_point_classifier.py", "5"], "scores change by at most"),
    ],
)
def test_example(arguments: list[str], expected: str, scenes_folder: Path) -> None:
    photo = str(scenes_folder / "images" / "scene_0001.png")
    filled = [photo if a == "PHOTO" else a for a in arguments]
    done = subprocess.run(
        [sys.executable, *filled], cwd=EXAMPLES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    file = arguments[:2] if arguments[0] == "-m" else arguments[:1]
    usage = subprocess.run(
        [sys.executable, *file], cwd=EXAMPLES.parent, capture_output=True, text=True, check=False
    )
    assert usage.returncode == 1
    assert f"python {' '.join(file)} " in usage.stderr


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
