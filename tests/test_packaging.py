"""A wheel holds all that samrot reads of itself, and nothing of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    leave_out = shutil.ignore_patterns("__pycache__")
    for folder in ("samrot", "configs", "tests", "examples"):  # links stay links, as in a checkout
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=leave_out)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> zipfile.ZipFile:
    return build(source, "wheel")


def build(source: Path, kind: str) -> zipfile.ZipFile:
    """Build a wheel, or an editable one."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}('{kind}')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (source / kind).glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {
        str(path.relative_to(ROOT))
        for pattern in ("*", "*/*", "*/*/*", "*/*/*/*")  # through links to folders too
        for path in (ROOT / "samrot").glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = set(wheel.namelist())
    assert {"samrot/pretrained/sam_mini.safetensors", "samrot/configs/custom.yaml"} <= files
    assert files <= packed, sorted(files - packed)
    assert {name.partition("/")[0] for name in packed - files} == {
        next(name for name in packed if name.endswith("/METADATA")).partition("/")[0]
    }


def test_the_wheel_names_the_command_and_the_extras(wheel: zipfile.ZipFile) -> None:
    texts = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "samrot = samrot.cli:main" in wheel.read(texts["entry_points.txt"]).decode()
    metadata = wheel.read(texts["METADATA"]).decode()
    for extra in ("hub", "transformers", "escnn"):
        assert f"Provides-Extra: {extra}\n" in metadata


def test_type_checkers_see_an_editable_install(source: Path) -> None:
    """They read paths, not the import hooks that setuptools makes of other layouts."""
    editable = build(source, "editable")
    (name,) = (name for name in editable.namelist() if ".dist-info/" not in name)
    assert Path(editable.read(name).decode().strip()) == source
    assert (source / "samrot" / "py.typed").is_file()
