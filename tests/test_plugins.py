"""Plug-ins: the example package, installed as a user would, and packages that are broken."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samrot import InputError, RobustPredictor, load_canonicalizer, load_segmenter
from samrot.canonicalizers import BUNDLED
from samrot.cli import main
from samrot.commands.models import list_models
from samrot.evaluation.methods import METHODS, find_method
from samrot.geometry.exact import move_image
from samrot.runtime.plugins import find_plugins
from samrot.segmenters import SEGMENTERS
from samrot.testing import assert_commutes
from tests.conftest import random_photo

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"
Install = Callable[[str, dict[str, str], str], None]


@pytest.fixture(scope="session")
def example_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the example."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")  # the build leaves files beside it
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", "--target", str(folder / "site"),
         str(folder / "source")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def example(example_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(example_site)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package on the path: its name, entry points (``group:name`` -> object), and code."""
    made: list[str] = []

    def install(package: str, entry_points: dict[str, str], code: str) -> None:
        site = tmp_path / package
        info = site / f"{package}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        lines = []
        for place, value in entry_points.items():
            group, _, name = place.partition(":")
            lines += [f"[samrot.{group}]", f"{name} = {package}:{value}"]
        (info / "entry_points.txt").write_text("\n".join(lines))
        (site / f"{package}.py").write_text(code)
        monkeypatch.syspath_prepend(site)
        made.append(package)

    yield install
    for package in made:
        sys.modules.pop(package, None)
    importlib.invalidate_caches()


@pytest.mark.slow
@pytest.mark.usefixtures("example")
def test_the_example_is_found_by_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    canonicalizer = load_canonicalizer("bright_edge")
    predictor = RobustPredictor(load_segmenter("brightness"), "bright_edge")
    assert_commutes(predictor)
    photo = random_photo(0, 40, 40) // 2
    photo[:4] += 100
    assert [canonicalizer.pose(move_image(photo, g)) for g in range(4)] == [0, 1, 2, 3]
    method = find_method("brightest_edge")
    assert method.estimates
    assert not method.needs_canonicalizer
    with pytest.raises(InputError, match="brightness has no weights, but checkpoint is x"):
        load_segmenter("brightness", checkpoint="x")
    assert main(["models"]) == 0
    listed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for name in ("brightness", "bright_edge", "brightest_edge"):
        assert f"{name} installed samrot-example-plugin 0.1.0, licence: Apache-2.0" in listed


@pytest.mark.usefixtures("example")
def test_the_example_is_evaluated(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [
        "evaluate", "--data.images", str(scenes_folder / "images"), "--data.annotations",
        str(scenes_folder / "annotations.json"), "--segmenter.name", "brightness",
        "--canonicalizer.name", "bright_edge", "--methods", "none,canonical,brightest_edge",
        "--limit", "2", "--report", "false", "--out", str(out),
    ]  # fmt: skip
    assert main(arguments) == 0, capsys.readouterr().err
    table = capsys.readouterr().out
    canonical, by_plugin = (
        next(line for line in table.splitlines() if line.startswith(f"| {name} | segm AP |"))
        for name in ("canonical", "brightest_edge")
    )
    assert canonical.partition("segm")[2] == by_plugin.partition("segm")[2]


def test_names_that_are_unknown_name_the_plugins(install: Install) -> None:
    install("pack_a", {"segmenters:sharp": "load", "canonicalizers:sure": "load"}, "load = print")
    with pytest.raises(InputError, match="segmenter is 'sam3'; .*grabcut, box, sharp$"):
        load_segmenter("sam3")
    with pytest.raises(
        InputError, match="'c5' is neither .* expected one of c4, .*so2, sure, the path"
    ):
        load_canonicalizer("c5")


LIAR = """
import torch
from samrot.canonicalizers import Canonicalizer, Thumbnail

class Network(torch.nn.Module):
    def forward(self, images):
        return torch.stack([images[..., :2, :].mean((1, 2, 3)) * k for k in range({order})], dim=1)

def load(device):
    return Canonicalizer(Network(), Thumbnail(16), mirror_average=False)
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", r"cannot be imported \(ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", r"cannot be imported \(SystemExit: 3\); mend, update or"),
        ("other = 1", "cannot be imported .AttributeError: .*load"),
        ("load = 7", "is a int; expected a callable that makes the canonicalizer"),
        ("def load(device):\n  raise OSError(5, 'bad disk')", r"raises OSError: .*bad disk; mend"),
        ("def load(): pass", "raises TypeError: load.. takes 0 positional"),
        ("def load(device): return 'c4'", "gives a str; expected a samrot.Canonicalizer"),
        (LIAR.format(order=4), r"breaks the law of C4, .* is moved by 90: its evidence for \d+ is"),
        (LIAR.format(order=5), r"fails on a photo \(RuntimeError: The size of tensor"),
    ],
)
def test_a_canonicalizer_that_is_broken_is_named(code: str, message: str, install: Install) -> None:
    install("pack_b", {"canonicalizers:bad": "load"}, code)
    with pytest.raises(InputError) as caught:
        load_canonicalizer("bad")
    assert str(caught.value).startswith("canonicalizer 'bad' of the package pack_b 1.5 ")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        load_canonicalizer("bad")
    assert load_canonicalizer("c4").pose(np.zeros((4, 4, 3), dtype=np.uint8)) == 0


def test_segmenters_and_methods_that_are_broken_are_named(install: Install) -> None:
    code = "class S: name = 's'\ndef load(checkpoint, device): return S()\ndef method(): return 3"
    install("pack_c", {"segmenters:halfway": "load", "methods:three": "method"}, code)
    with pytest.raises(InputError, match="pack_c 1.5 gives a S without predicts_scores; expected"):
        load_segmenter("halfway")
    with pytest.raises(InputError, match="method 'three' of the package pack_c 1.5 gives a int; "):
        find_method("three")
    with pytest.raises(InputError, match="methods entry is 'four'; expected one of: none, .*three"):
        find_method("four")


@pytest.mark.filterwarnings("always::UserWarning")
def test_the_list_warns_of_what_is_broken(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("pack_d", {"segmenters:torn": "load"}, "import no_such_module")
    install("pack_e", {"canonicalizers:c4": "load", "methods:oracle": "load"}, "load = print")
    install("pack_f", {"segmenters:twice": "load", "segmenters:fine": "load"}, "load = print")
    install("pack_g", {"segmenters:twice": "load"}, "load = print")
    assert main(["models"]) == 0
    out, err = capsys.readouterr()
    assert "fine" in out
    assert "torn" not in out
    warned = err.splitlines()
    assert len(warned) == 4
    for line, words in zip(
        sorted(warned),
        [
            "canonicalizer 'c4' of the package pack_e 1.5 has the name of one of samrot's own",
            "method 'oracle' of the package pack_e 1.5 has the name of one of samrot's own",
            "segmenter 'torn' of the package pack_d 1.5 cannot be imported (ModuleNotFoundError",
            "segmenter 'twice' of the package pack_g 1.5 and pack_f 1.5 is there more than once",
        ],
        strict=True,
    ):
        assert line.startswith(f"samrot: warning: {words}")
    # What samrot's own names give stays samrot's own.
    assert load_canonicalizer("c4").thumbnail.size > 16
    with pytest.raises(InputError, match="pack_g 1.5 and pack_f 1.5 is there more than once; exp"):
        load_segmenter("twice")


def test_own_names_are_found_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(**_: str) -> None:
        raise AssertionError("entry points were searched")

    monkeypatch.setattr("importlib.metadata.entry_points", search)
    load_segmenter("box")
    load_canonicalizer("c4")
    find_method("canonical")
    with pytest.raises(AssertionError, match="were searched"):
        find_plugins("methods")


def test_the_list_names_what_the_tables_have() -> None:
    listed = list_models()
    for family, own in (
        ("segmenters", SEGMENTERS), ("canonicalizers", BUNDLED), ("methods", METHODS)
    ):  # fmt: skip
        names = [
            m.name for m in listed if m.family == family and m.name not in find_plugins(family)
        ]
        assert sorted(names) == sorted(own)


def test_the_list_says_what_the_headers_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAMROT_WEIGHTS", str(tmp_path))
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"x")
    monkeypatch.setattr("samrot.commands.models.find_spec", lambda name: None)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    of = {line.split()[0]: line for line in lines}
    assert "bundled" in of["c4"]
    assert "C4, 3,095,345 parameters, 6.3 MB, licence: Apache-2.0" in of["c4"]
    assert "D4, 192 parameters after those of c4" in of["d4"]
    assert "accuracy: pose, upright (573 photos kept aside): 0.9215" in "\n".join(lines)
    assert "COCO 2017 train and unlabelled" in " ".join(" ".join(lines).split())
    assert "installed" in of["sam_vit_b"]
    assert "absent" in of["sam_vit_h"]
    assert "put " in of["sam_vit_h"]
    assert "absent" in of["transformers"]
    assert "pip install 'samrot[transformers]'" in of["transformers"]
    monkeypatch.setattr("samrot.weights.bundled", lambda name: tmp_path / name)
    assert main(["models"]) == 0
    assert "broken     checkpoint" in capsys.readouterr().out


def test_the_list_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "cv2", "transformers", "lightning", "huggingface_hub"]
    code = (
        "import samrot.cli, sys; samrot.cli.main(['models']); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
