"""Imports only go down the floors, and heavy packages are imported lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import samrot

PACKAGE = Path(__file__).parents[1] / "samrot"
# Floor 0 is the ground. Rooms of one floor do not import each other.
FLOORS = (
    ("errors", "files", "wording"),
    ("geometry", "model_card"),
    ("structures", "runtime", "weights"),
    ("data", "layers", "drawing", "scoring"),
    ("canonicalizers", "segmenters", "models"),
    ("robust", "testing"),
    ("evaluation", "training"),
    ("commands",),
    ("cli", "__main__", "__init__"),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# The tool that proves the law of what robust makes stands above it, on the same floor; the ground
# and the face are no rooms.
SAME_FLOOR = {("testing", "robust"), ("files", "errors"), ("__main__", "cli")}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {module_of(path): path for path in FILES}


def samrot_imports(path: Path) -> set[str]:
    """The modules of samrot that a file imports anywhere, under ``TYPE_CHECKING`` too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module in MODULES}


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    here = room(module)
    for imported in samrot_imports(MODULES[module]):
        there = room(imported)
        allowed = there == here or (here, there) in SAME_FLOOR or FLOOR_OF[there] < FLOOR_OF[here]
        assert allowed, f"{module} (floor {FLOOR_OF[here]}) imports {imported}"


def test_no_circle_of_files() -> None:
    graph = {module: samrot_imports(path) - {module} for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above[above.index(module) :], module))
        if module not in done:
            for imported in sorted(graph[module]):
                visit(imported, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_every_room_has_a_floor() -> None:
    rooms = {p.name.removesuffix(".py") for p in PACKAGE.iterdir()}
    assert rooms - {"__pycache__", "configs", "pretrained", "py.typed"} == set(FLOOR_OF)


def test_turns_are_the_business_of_geometry() -> None:
    """Elsewhere, what is needed of a group is asked of it."""
    for path in FILES:
        if path.parent.name == "geometry":
            continue
        text = path.read_text()
        for phrase in ("% 4", "// 90", "* 90", "90 *"):
            assert phrase not in text, f"{path.name} holds {phrase!r}"


@pytest.mark.parametrize(
    "code",
    ["import samrot", *(f"import samrot.cli; samrot.cli.main([{w!r}])" for w in ("help", "x"))],
)
def test_import_is_light(code: str) -> None:
    """``import samrot``, ``samrot help`` and a mistyped command answer at once."""
    heavy = ["torch", "numpy", "cv2", "escnn", "albumentations", "transformers", "lightning"]
    code += f"\nimport sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_public_names_are_shown() -> None:
    assert dir(samrot) == sorted(samrot.__all__)


@pytest.mark.slow
def test_every_name_is_found_when_it_is_used() -> None:
    code = "import samrot; print([n for n in samrot.__all__ if not hasattr(samrot, n)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
