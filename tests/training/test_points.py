"""Training of networks for clouds: they learn, behind a canonicalizer too; priors; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.canonicalizers.clouds import load_cloud_canonicalizer
from samrot.cli import main
from samrot.data.clouds import CloudSettings
from samrot.errors import InputError
from samrot.geometry.groups import SO3
from samrot.geometry.space import move_points, rotation_about_z
from samrot.models.point_networks import load_point_network
from samrot.training.fit_settings import OptimSettings
from samrot.training.point_objective import (
    CloudAugmentation,
    CloudViews,
    identity_prior_loss,
    up_prior_loss,
)
from samrot.training.points import (
    TrainedCloudCanonicalizerSettings,
    TrainedNetworkSettings,
    TrainingCloudSettings,
    TrainPointsSettings,
    train_points,
)
from tests.conftest import write_clouds

CONFIGS = sorted((Path(samrot.__file__).parent / "configs").glob("points_*.yaml"))
TWO_STEPS = OptimSettings(steps=2, batch_size=4, bfloat16=False)
SMALL = {"widths": [8, 8], "embedding": 16}
BEFORE = TrainedCloudCanonicalizerSettings(
    architecture="vn_rotation", options={"channels": 8, "depth": 1}, prior="up"
)


@pytest.fixture
def clouds(tmp_path: Path) -> Path:
    return write_clouds(tmp_path / "clouds.npz")


def settings(clouds: Path, out: Path, **changes: Any) -> TrainPointsSettings:
    values: dict[str, Any] = {
        "out": str(out),
        "data": TrainingCloudSettings(clouds=str(clouds)),
        "points_per_view": 24,
        "network": TrainedNetworkSettings(options=SMALL),
        "optim": OptimSettings(
            steps=40, batch_size=16, warmup_steps=2, learning_rate=0.02, ema_decay=0.8,
            bfloat16=False,
        ),
        "workers": 0,
        "val_every": 20,
        "val_share": 1 / 3,
    }  # fmt: skip
    return TrainPointsSettings(**{**values, **changes})


def last_of(run: Path, column: str) -> float:
    header, *rows = (run / "log.csv").read_text().splitlines()
    return float(rows[-1].split(",")[header.split(",").index(column)])


@pytest.mark.slow
def test_learns_behind_a_canonicalizer_and_resumes(tmp_path: Path) -> None:
    clouds = write_clouds(tmp_path / "clouds.npz", num_each=12)
    chosen = settings(clouds, tmp_path / "run", canonicalizer=BEFORE, val_every=200)
    chosen = replace(chosen, optim=replace(chosen.optim, steps=200))
    run = train_points(chosen)
    assert last_of(run, "val_accuracy") > 0.6  # a third by chance; of five seeds 0.83 or more
    canonicalizer = load_cloud_canonicalizer(run / "canonicalizer.safetensors")
    assert load_point_network(run / "network.safetensors", name="pointnet").classes[0] == "disc"
    pole = CloudSettings(clouds=str(clouds)).load().clouds[12]
    turn = SO3.random(np.random.default_rng(0))
    rotation = canonicalizer.rotation(move_points(pole, turn))
    np.testing.assert_allclose(rotation, turn @ canonicalizer.rotation(pole), atol=1e-3)
    before = (run / "network.safetensors").read_bytes()
    train_points(chosen)
    assert (run / "network.safetensors").read_bytes() == before


def test_a_network_that_is_kept_stays_as_it_is(clouds: Path, tmp_path: Path) -> None:
    plain = train_points(settings(clouds, tmp_path / "plain", optim=TWO_STEPS))
    checkpoint = str(plain / "network.safetensors")
    kept = TrainedNetworkSettings(checkpoint=checkpoint, trained=False)
    changed = {"network": kept, "canonicalizer": BEFORE, "optim": TWO_STEPS}
    run = train_points(settings(clouds, tmp_path / "kept", **changed))
    assert not (run / "network.safetensors").exists()
    assert (run / "canonicalizer.safetensors").exists()
    assert not (plain / "canonicalizer.safetensors").exists()


def test_the_canonicalizer_learns_at_its_own_speed(clouds: Path, tmp_path: Path) -> None:
    for speed, stays in ((0.0, True), (2.0, False)):
        before = replace(BEFORE, speed=speed)
        runs = [
            train_points(
                settings(
                    clouds, tmp_path / f"{speed}_{steps}", canonicalizer=before, val_share=0.0,
                    optim=replace(TWO_STEPS, steps=steps, warmup_steps=0, schedule="constant"),
                )
            )
            for steps in (1, 3)
        ]  # fmt: skip
        canonicalizers, networks = (
            {(run / f"{name}.safetensors").read_bytes() for run in runs}
            for name in ("canonicalizer", "network")
        )
        assert (len(canonicalizers) == 1) == stays
        assert len(networks) == 2


def test_batch_norms_hold_the_statistics_of_the_weights_that_are_saved(
    clouds: Path, tmp_path: Path
) -> None:
    """Averages over a short training are not: a network would be lost without its batches."""
    far = replace(TWO_STEPS, steps=12, batch_size=8, learning_rate=0.05, warmup_steps=0)
    run = train_points(settings(clouds, tmp_path / "run", optim=far, val_share=0.0))
    network = load_point_network(run / "network.safetensors", name="pointnet")
    dataset = CloudSettings(clouds=str(clouds), split="train").load()
    views = CloudViews(dataset, 24, CloudAugmentation(), seed=1)
    batch = torch.stack([views[n][0] for n in range(180)])
    running = network.backbone(batch)[1]
    of_batch = network.backbone.train()(batch)[1]
    assert float((running - of_batch).abs().max() / of_batch.abs().max()) < 0.2


def test_priors() -> None:
    """The identity forgives no turn; up forgives headings."""
    rng = np.random.default_rng(0)
    known = np.stack([SO3.random(rng) for _ in range(5)])
    headings = np.stack([rotation_about_z(a) for a in rng.uniform(1, 5, 5)])
    for loss, of_headings in ((identity_prior_loss, 1.0), (up_prior_loss, 0.0)):
        given = torch.from_numpy(known)
        assert float(loss(given, given)) == 0
        turned = float(loss(torch.from_numpy(known @ headings), given))
        assert (turned > 0.1) == bool(of_headings)
        assert float(loss(torch.from_numpy(known @ known), given)) > 0.1
    upside_down = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    assert float(up_prior_loss(upside_down, torch.eye(3)[None])) == 4
    assert float(identity_prior_loss(upside_down, torch.eye(3)[None])) == 8


@pytest.mark.parametrize("num_points", [10, 100])
def test_views_are_repeatable(num_points: int, clouds: Path) -> None:
    dataset = CloudSettings(clouds=str(clouds), split="train").load()
    views = CloudViews(dataset, num_points, CloudAugmentation(rotations="so3"), seed=3)
    points, label, rotation = views[5]
    again = CloudViews(dataset, num_points, CloudAugmentation(rotations="so3"), seed=3)[5]
    assert all(torch.equal(a, b) for a, b in zip((points, label, rotation), again, strict=True))
    assert (points.shape, points.dtype) == ((num_points, 3), torch.float32)
    assert not torch.equal(points, views[5 + len(dataset)][0])
    still = CloudAugmentation(rotations="so3", scale=(1, 1), shift=0, jitter=0)
    points, _, rotation = CloudViews(dataset, num_points, still, seed=3)[0]
    back = move_points(points, rotation.mT)
    distances = torch.cdist(back, torch.from_numpy(np.concatenate(dataset.clouds)))
    assert float(distances.min(dim=1).values.max()) < 1e-3
    labels = sorted(int(views[n][1]) for n in range(len(dataset)))
    assert labels == sorted(dataset.labels)  # each once an epoch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network.trained", "false"], "network.trained is false without network.checkpoint"),
        (["--network.name", "x"], "network.name is 'x'; expected one of: pointnet, dgcnn"),
        (
            ["--canonicalizer.prior", "x"],
            "canonicalizer.prior is 'x'; expected one of: identity, u",
        ),
        (["--augmentation.rotations", "x"], "augmentation.rotations is 'x'; expected one of: alig"),
        (["--augmentation.scale", "[2, 1]"], "expected the smaller factor first"),
        (["--points_per_view", "2"], "points_per_view is 2; expected a number of at least 3"),
        (["--optim.batch_size", "1"], "optim.batch_size is 1; expected at least 2 for each"),
        (["--canonicalizer.architecture", "x"], "canonicalizer architecture is 'x'; expected one"),
    ],
)
def test_refusals(
    options: list[str], message: str, clouds: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = ["--data.clouds", str(clouds), "--out", str(tmp_path / "run"), *options]
    assert main(["train-points", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("config", [path.stem for path in CONFIGS])
def test_every_config_trains(config: str, clouds: Path, tmp_path: Path) -> None:
    given = ["--config", config, "--data.clouds", str(clouds), "--out", str(tmp_path / "run")]
    if "frozen" in config:
        plain = settings(clouds, tmp_path / "plain", optim=TWO_STEPS)
        given += ["--network.checkpoint", str(train_points(plain) / "network.safetensors")]
    else:
        given += ["--network.options", "{widths: [8], embedding: 8}"]
    small = {"points_per_view": 8, "workers": 0, "optim.steps": 2, "optim.batch_size": 4}
    given += [f"--{name}={value}" for name, value in small.items()]
    assert main(["train-points", *given]) == 0
    behind = (tmp_path / "run" / "canonicalizer.safetensors").exists()
    assert behind == (not config.startswith("points_plain"))


def test_nothing_to_train(clouds: Path, tmp_path: Path) -> None:
    plain = train_points(settings(clouds, tmp_path / "plain", optim=TWO_STEPS))
    kept = TrainedNetworkSettings(checkpoint=str(plain / "network.safetensors"), trained=False)
    for architecture in (None, "principal_axes"):
        before = TrainedCloudCanonicalizerSettings(architecture=architecture)
        with pytest.raises(InputError, match="nothing is trained; set one of them"):
            train_points(settings(clouds, tmp_path / "run", network=kept, canonicalizer=before))
