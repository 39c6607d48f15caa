"""Evaluation of clouds: what is exact is exact, what is known is undone, runs continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samrot.cli import main
from samrot.data.clouds import CloudSettings
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.tasks.pointcloud import PointCloudSettings, PointNetworkChoice
from samrot.models.point_networks import PointNetwork, save_point_network
from tests.conftest import write_clouds

SCENARIOS = ["aligned", "z", "so3"]
CLASSES = ("disc", "pole", "cone")
SMALL = {"widths": [8, 8], "embedding": 16}


class Heights(torch.nn.Module):
    """Knows the made clouds by their extent along z against that across: z up is what it needs."""

    classes, parts = list(CLASSES), False

    def forward(self, clouds: torch.Tensor) -> torch.Tensor:
        extents = clouds.std(dim=1)
        slender = extents[:, 2] / extents[:, :2].mean(dim=1)
        return torch.stack([-slender + 0.15, slender - 2, torch.zeros_like(slender)], dim=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_clouds(tmp_path / "clouds.npz", num_each=4)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "network.safetensors"
    save_point_network(PointNetwork("pointnet", CLASSES, SMALL), path)
    return path


def settings(data: Path, checkpoint: Path, out: Path, **changes: Any) -> PointCloudSettings:
    return PointCloudSettings(
        data=CloudSettings(clouds=str(data)),
        network=PointNetworkChoice(checkpoint=str(checkpoint)),
        out=str(out),
        **changes,
    )


def test_scenarios(
    data: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "samrot.evaluation.tasks.pointcloud.load_point_network", lambda *_, **__: Heights()
    )
    wanted = settings(
        data, checkpoint, tmp_path / "run", methods=["none", "canonical", "oracle"], rotations=3
    )
    summary = evaluate(wanted)
    plain, canonical, oracle = summary["methods"].values()
    for result in (plain, canonical, oracle):
        assert list(result["angles"]) == SCENARIOS
    assert plain["angles"]["aligned"]["accuracy"] == plain["angles"]["z"]["accuracy"] == 1
    assert plain["angles"]["so3"]["accuracy"] < 0.9
    assert plain["retention"] == plain["angles"]["so3"]["accuracy"]
    for scenario in SCENARIOS:
        assert oracle["angles"][scenario]["accuracy"] == 1
        # What a canonicalizer makes of a cloud does not depend on how it is turned.
        assert canonical["angles"][scenario]["agreement"] == 1
        scores = canonical["angles"][scenario]
        assert scores["accuracy"] == canonical["angles"]["aligned"]["accuracy"]
        assert scores["error_deg"] == pytest.approx(
            canonical["angles"]["aligned"]["error_deg"], abs=0.1
        )
        assert 0 <= scores["up_error_deg"] <= 180
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").open()]
    assert [record["cloud_id"] for record in records] == list(range(12))
    assert [len(records[0]["methods"]["none"][s]["correct"]) for s in SCENARIOS] == [1, 3, 3]
    table = (tmp_path / "run" / "summary.md").read_text()
    assert "| method | quantity | aligned | z | so3 | retention |" in table
    assert summary["dataset"] == {"clouds": 12, "classes": 3}


def test_a_run_is_continued_and_read_again(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    whole = evaluate(settings(data, checkpoint, tmp_path / "whole", methods=["none"]))
    run = tmp_path / "run"
    evaluate(settings(data, checkpoint, run, methods=["none"]))
    lines = (run / "records.jsonl").read_text().splitlines(keepends=True)
    (run / "records.jsonl").write_text("".join(lines[:5]) + lines[5][:9])
    (run / "summary.json").unlink()
    again = evaluate(settings(data, checkpoint, run, methods=["none"]))
    assert again["methods"] == whole["methods"]
    checkpoint.unlink()  # a finished run loads no model
    assert evaluate(settings(data, checkpoint, run, methods=["none"])) == again


def test_rotations_are_those_of_the_seed(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    first, same, other = (
        settings(data, checkpoint, tmp_path, seed=seed).views(4) for seed in (0, 0, 1)
    )
    assert [scenario for scenario, _ in first] == ["aligned"] + 4 * ["z"] + 4 * ["so3"]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[5][1], other[5][1])


def test_parts(tmp_path: Path) -> None:
    """Labels of points are in the order of the points, whatever the frame."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 20, 3))
    labels = (points[..., 2] > 0).astype(int)
    np.savez(tmp_path / "c.npz", points_test=points, labels_test=labels, names=np.array(["a", "b"]))
    path = tmp_path / "network.safetensors"
    torch.manual_seed(0)
    network = PointNetwork("pointnet", "ab", SMALL, parts=True)
    save_point_network(network, path)
    methods = ["none", "canonical", "oracle"]
    summary = evaluate(settings(tmp_path / "c.npz", path, tmp_path / "run", methods=methods))
    by_method = {m: summary["methods"][m]["angles"] for m in methods}
    upright = by_method["none"]["aligned"]["accuracy"]
    assert upright == by_method["oracle"]["aligned"]["accuracy"]
    assert by_method["oracle"]["so3"]["agreement"] == pytest.approx(1, abs=0.02)
    assert by_method["canonical"]["so3"]["agreement"] == pytest.approx(1, abs=0.02)


def test_command_line(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.clouds", str(data), "--network.checkpoint", str(checkpoint)]
    config = tmp_path / "config.yaml"
    config.write_text("task: pointcloud\nrotations: 1\nmethods: [none]\n")
    assert main(["evaluate", "--config", str(config), *options, "--out", f"{tmp_path}/a"]) == 0
    assert "pointnet on 12 clouds of 3 classes, 1 rotation each" in capsys.readouterr().out
    given = ["evaluate", "--task", "pointcloud", *options, "--out", f"{tmp_path}/b"]
    for extra, message in (
        (["--canonicalizer.name", "nowhere"], "checkpoint nowhere does not exist"),
        (["--rotations", "0"], "rotations is 0; expected a number of at least 1"),
        (["--network.name", "dgcnn"], "is a pointnet; set network.name to pointnet"),
        (["--segmenter.name", "box"], "segmenter"),
        (["--data.clouds", "nowhere"], "data.clouds nowhere does not exist"),
        (["--task", "x"], "task is 'x'; expected one of: segmentation, classification, pointcloud"),
    ):
        assert main([*given, *extra]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_task_has_settings_of_its_own() -> None:
    assert PointCloudSettings.task == "pointcloud"
    assert EvaluateSettings.task == "segmentation"
