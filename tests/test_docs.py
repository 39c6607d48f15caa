"""What the documents show runs as it is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fill_tables import filled
from PIL import Image
from studies.items import TITLES
from studies.page import show_page

import samrot
from samrot.cli import COMMANDS, main
from samrot.data.prompt_files import describe_prompt, read_prompts
from samrot.weights import bundled

ROOT = Path(__file__).parents[1]


def blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, scenes_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photo, and the trained weights, that the documents speak of."""
    photo = Image.open(scenes_folder / "images" / "scene_0001.png").resize((640, 480))
    photo.convert("RGB").transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.jpg")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    weights = tmp_path / "runs" / "mine" / "canonicalizer.safetensors"
    shutil.copy(bundled("canonicalizer_c4.safetensors"), weights)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_python_in_documents_has_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    for number, code in enumerate(blocks("README.md", "python")):
        (tmp_path / f"snippet_{number}.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"),
         *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


PAGES = [
    "README.md",
    "docs/index.md",
    "docs/custom-data.md",
    pytest.param("docs/plugins.md", marks=pytest.mark.slow),
    "docs/rotated-boxes.md",
    "docs/bursts.md",
]


@pytest.mark.parametrize("path", PAGES)
def test_python_in_documents(path: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = blocks(path, "python")
    assert shown
    for code in shown:
        # Official weights are not at hand.
        exec(code.replace('"sam_vit_b"', '"sam_mini"'), {})
    if path in PAGES[:2]:
        assert capsys.readouterr().out.startswith("1 [")


@pytest.mark.slow
@pytest.mark.filterwarnings("always::UserWarning")  # everything may find nothing in a scene
def test_segment_commands_of_the_readme(folder: Path) -> None:
    (folder / "photos").mkdir()
    shutil.move(folder / "sideways.jpg", folder / "photos" / "sideways.jpg")
    shutil.copytree(folder / "photos", folder / "bursts")
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1\nsideways.jpg,100,80,420,360\n")
    commands = re.findall(
        r"^samrot (segment .*?)(?:  #.*)?$", (ROOT / "README.md").read_text(), re.M
    )
    assert len(commands) == 4
    for number, command in enumerate(commands):
        arguments = command.split()
        arguments[arguments.index("--out") + 1] = str(folder / str(number))
        if "--everything" in arguments:  # a thousand clicks, for a test only four
            arguments += ["--grid.points_per_side", "2"]
        assert main(arguments) == 0
        assert (folder / str(number) / "sideways" / "masks.json").is_file()


def test_prompt_files_in_documents(tmp_path: Path) -> None:
    found = []
    for suffix, language in ((".csv", "csv"), (".json", "json")):
        path = tmp_path / f"prompts{suffix}"
        path.write_text(blocks("docs/prompts.md", language)[0])
        prompts = read_prompts(path)
        found.append({name: list(map(describe_prompt, of)) for name, of in prompts.items()})
    assert found[0] == found[1]
    assert json.loads(blocks("docs/prompts.md", "json")[1])["type"] == "object"


def test_the_study_shows_its_files() -> None:
    assert list((ROOT / "docs" / "study").glob("*.csv"))
    assert (ROOT / "docs" / "study.md").read_text() == show_page(ROOT / "docs", TITLES)


def test_documents_name_commands_that_exist() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for name in re.findall(r"\bsamrot ([a-z][a-z-]+) --?[a-z]", path.read_text()):
            assert name in COMMANDS, f"{path.name} names samrot {name}"


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Every link and anchor is there, every page is listed, and nothing is asked from elsewhere."""
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "s")],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [path.read_text() for path in (tmp_path / "s").rglob("*.html")]
    assert any("predict_torch" in page for page in pages), "the reference is there"
    assert all(getattr(samrot, name).__doc__ for name in samrot.__all__ if name != "__version__")
    fetched = [re.findall(r'(?:src="|<link[^>]*href=")(https?://[^"]+)', page) for page in pages]
    assert not any(fetched)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_tables_are_those_of_the_files(path: Path) -> None:
    """Else: python tools/fill_tables.py docs/*.md."""
    text = path.read_text()
    assert filled(text) == text


def test_every_file_of_numbers_is_shown() -> None:
    shown = re.findall(r"<!-- docs/results/([\w.-]+) -->", "".join(
        path.read_text() for path in (ROOT / "docs").glob("*.md")
    ))  # fmt: skip
    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs" / "results").iterdir())
