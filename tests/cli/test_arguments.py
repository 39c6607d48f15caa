"""Lists, switches and near misses on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from samrot.cli.arguments import as_parsed, find_config, option_types
from samrot.errors import InputError


@dataclass
class Inner:
    angles: list[int] | None = None
    range: tuple[float, float] = (0, 1)


@dataclass
class Settings:
    box: list[float] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    prior: list[float] | str | None = None
    images: str | list[str] | None = None
    everything: bool = False
    out: str = ""
    inner: Inner = field(default_factory=Inner)


OPTIONS = option_types(Settings)


def test_options_of_settings_within_settings() -> None:
    assert list(OPTIONS) == [
        "--box", "--methods", "--prior", "--images", "--everything", "--out",
        "--inner", "--inner.angles", "--inner.range",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--box 1 2 3 -4 a.jpg --box 5,6,7,8", ["--box=[1, 2, 3, -4, 5, 6, 7, 8]", "a.jpg"]),
        ("--box=1,2 --out o --box [3,4.5]", ["--box=[1, 2, 3, 4.5]", "--out", "o"]),
        ("--methods none,canonical", ['--methods=["none", "canonical"]']),
        ("--methods none canonical --out o", ['--methods=["none", "canonical"]', "--out", "o"]),
        ("--methods [none,canonical]", ['--methods=["none", "canonical"]']),
        ("--methods a --methods b", ['--methods=["a", "b"]']),
        ("--prior exif", ["--prior", "exif"]),
        ("--prior 0.5 0.5", ["--prior=[0.5, 0.5]"]),
        ("--methods a", ['--methods=["a"]']),
        ("--images a", ["--images=a"]),
        ("--images a b", ['--images=["a", "b"]']),
        ("--inner.angles 0 90", ["--inner.angles=[0, 90]"]),
        ("--inner.range 0,2", ["--inner.range=[0, 2]"]),
        ("--everything a.jpg", ["--everything=true", "a.jpg"]),
        ("--everything", ["--everything=true"]),
        ("--everything false", ["--everything=false"]),
        ("--everything=false", ["--everything=false"]),
        ("--methods [none --out", ["--methods", "[none", "--out"]),
        ("--box --out=o", ["--box", "--out=o"]),
        ("--unknown 1 2", ["--unknown", "1", "2"]),
    ],
)
def test_as_parsed(typed: str, read: list[str]) -> None:
    assert as_parsed(typed.split(), OPTIONS) == read


def test_settings_of_a_switch_are_elsewhere() -> None:
    for typed in ("--everything.angles", "--everything.angles=1", "--out.angles"):
        name = typed.partition("=")[0]
        with pytest.raises(InputError, match=f"^unrecognized arguments: {name}; did you mean --in"):
            as_parsed([typed], OPTIONS)


def test_configs_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = find_config("custom")
    assert bundled.is_file()
    for typed in (["--config", "custom"], ["--config=custom"]):
        assert as_parsed(typed, OPTIONS) == [f"--config={bundled}"]
    monkeypatch.chdir(tmp_path)
    Path("custom").write_text("out: mine\n")  # a file goes first
    assert find_config("custom") == Path("custom")
    with pytest.raises(InputError, match=r"config custon does not exist; .* did you mean custom\?"):
        find_config("custon")
