"""Options and config files: exit code 2 and one line, whatever they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from samrot.cli import main
from tests.fuzz.inputs import JSON, broken_json, examples

# No such data: what is taken for right ends there.
CONFIGS = {
    "evaluate": {
        "data": {"images": "no_such_folder", "annotations": "a.json"}, "out": "o",
        "segmenter": {"name": "box", "refine": 0, "encoder": {"dtype": "float32"}},
        "canonicalizer": {"name": "c4"}, "methods": ["none"], "angles": [0, 90], "limit": 3,
        "prompts": {"source": "gt", "max_per_image": 10, "min_score": 0.1}, "devices": 1,
    },
    "train": {
        "data": {"images": ["no_such_folder"]}, "out": "o", "prior": [1.0, 0.0, 0.0, 0.0],
        "optim": {"steps": 2, "batch_size": 2, "learning_rate": 0.1, "ema_decay": 0.9},
        "canonicalizer": {"architecture": "gcnn", "size": 17, "options": {"widths": [1, 2]}},
        "augmentation": {"crop_area": [0.3, 1.0], "tilt_deg": 5.0}, "seed": 0, "limit": 3,
    },
    "segment": {
        "images": ["no_such_photo.jpg"], "out": "o", "everything": True,
        "grid": {"points_per_side": 4, "pred_iou_thresh": 0.5}, "segmenter": {"name": "sam_mini"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("options")


def check_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    code = main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert lines[-1].startswith("samrot: error: "), lines
    assert all(line.startswith("samrot: warning: ") for line in lines[:-1]), lines


@given(
    config=st.sampled_from(sorted(CONFIGS)).flatmap(
        lambda name: st.tuples(st.just(name), broken_json(CONFIGS[name]))
    )
)
@examples(12)
def test_configs(config: tuple[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, content = config
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(content), errors="replace")
    check_refused([name, "--config", str(path)], capsys)


@given(text=st.text(alphabet="ab:-[]{}*&!|> \n\"'#%@0.1,?", max_size=30))
@examples(12)
def test_yaml(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "t.yaml"
    path.write_text(text)
    check_refused(["train", "--config", str(path), "--out", str(folder / "o")], capsys)


OPTIONS = st.sampled_from(
    ["angles", "methods", "limit", "segmenter", "segmenter.refine", "prompts.file", "devices"]
)
VALUES = st.one_of(
    st.text(alphabet="ab:-[]{}*&!|>\"'#0.1,", min_size=1, max_size=8),
    JSON.map(lambda value: yaml.safe_dump(value, default_flow_style=True).split("\n...")[0]),
)


@given(option=OPTIONS, value=VALUES)
@examples(12)
def test_options(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data.images", "no_such_folder", "--data.annotations", "a.json", "--out", "o"]
    check_refused(["evaluate", *data, f"--{option}={value}"], capsys)
