"""The command line as its user sees it: one line per error, exit code 2, no traceback."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

import samrot
from samrot.cli import COMMANDS, main
from samrot.cli.parsing import parse
from samrot.commands import doctor
from samrot.commands.demo import DemoSettings, demo
from samrot.evaluation.table import summary_table


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def data_options(scenes_folder: Path) -> list[str]:
    return [
        "--data.images", str(scenes_folder / "images"),
        "--data.annotations", str(scenes_folder / "annotations.json"),
    ]  # fmt: skip


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert all(name in out for name in COMMANDS)
    assert run(capsys, "--version")[1] == f"samrot {samrot.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for arguments in ([name, "--help"], ["help", name]):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    usage, *_, example = shown[0].splitlines()
    assert usage.startswith(f"usage: samrot {name} ")
    assert example.startswith(f"  samrot {name}")
    assert "CONFIG]" not in shown[0]
    assert "lambda" not in shown[0]


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].example])
def test_examples_are_read(name: str) -> None:
    options = COMMANDS[name].example.partition(" > ")[0].split()
    assert parse(name, COMMANDS[name], options) is not None


def test_completion(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("shtab")
    code, script, err = run(capsys, "completion", "bash")
    assert code == 0, err
    assert "rotate-coco" in script
    assert "--segmenter.checkpoint" in script


def test_completion_without_shtab(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jsonargparse._completions.find_spec", lambda name: None)
    code, _, err = run(capsys, "completion", "zsh")
    assert (code, err.count("\n")) == (2, 1)
    assert "shtab is not installed; pip install 'samrot[completion]'" in err


def test_evaluate_with_a_config_file(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("segmenter: {name: grabcut}\nmethods: [none]\nangles: [0, 90, 180, 270]\n")
    options = [*data_options(scenes_folder), "--out", str(tmp_path / "run"), "--limit", "1"]
    code, out, err = run(
        capsys, "evaluate", "--config", str(config), *options, "--angles", "[0, 90]"
    )
    assert code == 0, err
    assert "| none | segm AP |" in out
    assert "scene" not in out
    assert " on 1 of 6 photos, " in out
    assert "average of 2 |" in out
    text = (tmp_path / "run" / "summary.md").read_text()
    assert text.startswith(out.partition("results: ")[0].rstrip())
    assert "| method | AP | AP50 | AP75 | APs | APm | APl |" in text
    assert "segm AP by category" in text
    assert "none,90,segm,,AP50," in (tmp_path / "run" / "summary.csv").read_text()
    assert "method & quantity & 0 & 90 &" in (tmp_path / "run" / "summary.tex").read_text()
    stored = (tmp_path / "run" / "config.yaml").read_text()
    assert "name: grabcut" in stored
    code, again, err = run(
        capsys, "evaluate", "--config", str(config), *options, "--angles", "[0, 90]"
    )
    assert (code, again) == (0, out)
    assert err == f"samrot: the run in {tmp_path / 'run'} was complete; nothing is run\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute"], "doctor, completion; did you mean evaluate?"),
        (["evaluate", "--out", "o"], "required: data.images"),
        (["evaluate", "--no.such", "1"], "unrecognized arguments: --no.such"),
        (["evaluate", "DATA", "--method", "none"], "--method none; did you mean --methods?"),
        (["evaluate", "--images", "here"], "--images here; did you mean --data.images?"),
        (
            ["evaluate", "DATA", "--out", "o", "--angles", "[-10]"],
            "angles entry is -10.0; expected",
        ),
        (["evaluate", "DATA", "--out", "o", "--limit", "many"], "limit"),
        (["evaluate", "DATA", "--out", "o", "--segmenter.name", "sam9"], "segmenter is 'sam9'"),
        (["evaluate", "DATA", "--out", "o", "--canonicalizer.name", "c9"], "'c9' is neither"),
        (["evaluate", "DATA", "--out", "o", "--segmenter.checkpoint", "x"], "x does not exist"),
        (["train", "--out", "o"], "data.images is empty"),
        (["rotate-coco", "nowhere", "dst"], "nowhere should hold one COCO dataset"),
        (["demo", "--data", "nowhere"], "nowhere should hold one COCO dataset"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    scenes_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [
        part for a in arguments for part in (data_options(scenes_folder) if a == "DATA" else [a])
    ]
    code, out, err = run(capsys, *filled)
    assert code == 2
    assert out == ""
    assert err.startswith("samrot: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: &a [none, *a]\n", "it holds *a; write out what that stands for"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nmethods: [*b, *b]\n", "it holds *a; write out"),
        ("methods: " + "[" * 40 + "]" * 40, "it is more than 32 lists or mappings deep"),
        ("methods: " + "[" * 100_000, "it is more than 32 lists or mappings deep"),
        ("methods: [\0]", "control characters are not allowed"),
    ],
)
@pytest.mark.parametrize("where", ["config", "option"])
def test_yaml_that_would_fill_the_memory(
    where: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    given = ["--config", str(tmp_path / "c.yaml")]
    if where == "option":
        given = ["--methods", text.rpartition("methods: ")[2].strip()]
    code, _, err = run(capsys, "evaluate", *given, "--out", "o", "--data.images", "x",
                       "--data.annotations", "x")  # fmt: skip
    assert code == 2
    assert err.startswith("samrot: error: ")
    assert err.count("\n") == 1
    if where == "config":
        assert message in err


def test_lines_for_a_person_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "eva\nluate")[2].count("\n") == 1
    assert run(capsys, "export", "--out", "x\ny", "--segmenter.name", "a\nb")[2].count("\n") == 1


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("samrot.commands.doctor.report", interrupted)
    code, _, err = run(capsys, "doctor")
    assert (code, err) == (130, "samrot: interrupted; run the same command again\n")


@pytest.mark.slow
def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    states = {line[:24].strip(): line[25:].split()[0] for line in out.splitlines()}
    assert {"samrot", "Python", "system", "memory", "numpy"} <= states.keys()
    assert states["torch"] == states["torchvision"] == states["bundled weights"] == "present"
    assert states["sam_vit_h (optional)"] == "absent"
    listed = [line[:24].strip() for line in out.splitlines()]
    assert len(set(listed)) == len(listed)
    if states["points (optional)"] == "present":
        assert re.search(r"^points \(optional\) +present  h5py [\d.]+, trimesh [\d.]+$", out, re.M)
    assert set(states.values()) <= {"present", "absent", "broken"}

    def broken() -> str:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("samrot.commands.doctor._check_torchvision", broken)
    line = next(x for x in run(capsys, "doctor")[1].splitlines() if x.startswith("torchvision"))
    assert "broken" in line
    assert "matching builds" in line


def test_rotate_coco(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        capsys,
        "rotate-coco",
        str(scenes_folder),
        str(tmp_path / "t"),
        "--angles",
        "90",
        "--angles",
        "270",
    )
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "t").glob("[!.]*/")) == ["090", "270"]
    content = json.loads((tmp_path / "t" / "090" / "annotations.json").read_text())
    assert len(content["images"]) == 6


def test_doctor_knows_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of setup.cfg, and of the packages the ones that it installs."""
    config = ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    declared = {
        extra: {re.split(r"[ =<>\[]", line)[0] for line in lines.split("\n") if line}
        for extra, lines in config["options.extras_require"].items()
    }
    assert set(doctor.EXTRAS) == declared.keys() - {"dev", "escnn"}
    for extra, packages in doctor.EXTRAS.items():
        assert set(packages) == declared[extra]
    monkeypatch.setitem(doctor.EXTRAS, "points", ("h5py", "no-such-package"))
    with pytest.raises(ModuleNotFoundError, match="^no-such-package not installed$"):
        doctor._check_extra("points")


@pytest.mark.slow
def test_demo_draws_and_continues(tmp_path: Path) -> None:
    settings = DemoSettings(out=str(tmp_path / "demo"), images=3, overlays=1)
    summary, overlays = demo(settings)
    assert summary["methods"]["canonical"]["equivariance"]["identical_masks"] == 1.0
    assert "canonical" in summary_table(summary)
    assert len(list(overlays.iterdir())) == 1
    assert demo(settings)[0] == summary
