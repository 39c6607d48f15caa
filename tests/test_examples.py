"""The examples run as their docstrings say."""

from __future__ import annotations

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
