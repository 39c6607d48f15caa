"""Imports only go down the layers, and heavy optional packages are imported lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "samrot"
LAYERS = {
    "errors": 0,
    "types": 0,
    "files": 0,
    "devices": 0,
    "batches": 0,
    "geometry": 1,
    "layers": 2,
    "canonicalizers": 3,
    "segmenters": 3,
    "data": 3,
    "losses": 3,
    "pose_statistics": 3,
    "scoring": 3,
    "weights": 3,
    "detectors": 3,
    "pipeline": 4,
    "predictor": 4,
    "mask_generator": 4,
    "robust_detector": 4,
    "engines": 5,
    "cli": 6,
    "__main__": 6,
    "__init__": 6,
}


def samrot_imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_go_down(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in samrot_imports(path):
        if module.startswith("samrot.") and room(module) in LAYERS:
            assert LAYERS[room(module)] <= LAYERS[here], f"{here} imports {module}"


def test_every_room_has_a_layer() -> None:
    rooms = {
        p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()
    }
    assert rooms - {"__pycache__", "pretrained", "py.typed"} == set(LAYERS)


def test_import_is_light() -> None:
    heavy = ["escnn", "albumentations", "transformers", "lightning", "pooch"]
    code = f"import sys, samrot; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
