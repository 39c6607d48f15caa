"""Training on photos that are not all upright."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samrot.canonicalizers import load_canonicalizer
from samrot.data.images import read_image
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.training.losses import prior_loss
from samrot.training.realign import find_poses
from samrot.training.train import train
from samrot.training.train_settings import TaskLossSettings, TrainSettings
from tests.training.test_train import photos, settings

__all__ = ["photos"]

TURNED = {f"{i}.png": 1 + i % 3 for i in range(0, 24, 6)}


@pytest.fixture
def some_turned(photos: Path) -> Path:
    """Of 24 photos four are turned."""
    for name, turns in TURNED.items():
        image = read_image(photos / name)
        Image.fromarray(move_image(image, turns)).save(photos / name)
    return photos


def rounds(photos: Path, out: Path, **changes: object) -> TrainSettings:
    return settings(photos, out, realign=1, turned_share=0.2, cutmix=0.0, **changes)


def test_photos_that_are_turned_are_found_and_moved(some_turned: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    checkpoint = train(rounds(some_turned, out))
    assert checkpoint == out / "canonicalizer.safetensors"
    counts = json.loads((out / "realign.json").read_text())
    [wrong_share] = counts.pop("expected_wrong")
    assert counts == {"photos": 24, "moved": [4]}
    assert 0 < wrong_share < 0.05
    poses = json.loads((out / "round_1" / "poses.json").read_text())
    found = {Path(path).name: pose for path, pose in poses.items() if pose}
    assert found == TURNED
    assert (out / "round_1" / "moved.png").stat().st_size > 1000
    canonicalizer = load_canonicalizer(checkpoint)
    upright = read_image(some_turned / "1.png")
    assert [canonicalizer.pose(move_image(upright, k)) for k in range(4)] == [0, 1, 2, 3]
    steps = [
        (out / f"round_{n}" / "run" / "log.csv").read_text().splitlines()[-1].split(",")[0]
        for n in (0, 1)
    ]
    assert steps == ["24", "24"]


@pytest.mark.parametrize("wrong", [0, 3])
def test_photos_are_moved_by_bayes_rule(wrong: int, some_turned: Path, tmp_path: Path) -> None:
    """All given as turned by ``wrong``, which is undone first; found is the turn as stored."""
    checkpoint = train(settings(some_turned, tmp_path / "run"))
    paths = sorted(some_turned.glob("*.png"))
    canonicalizer = load_canonicalizer(checkpoint)
    given = [wrong] * len(paths)
    prior = np.roll([0.7, 0.1, 0.1, 0.1], wrong)
    estimates = [canonicalizer.estimate(read_image(path)) for path in paths]
    expected = [int((pose.probabilities * prior).argmax()) for pose in estimates]
    found, wrong_share = find_poses(checkpoint, paths, True, given, 0.3)
    assert found == expected
    assert len(set(expected)) > 1
    posteriors = np.array([pose.probabilities * prior for pose in estimates])
    doubts = 1 - posteriors.max(axis=1) / posteriors.sum(axis=1)
    assert wrong_share == pytest.approx(doubts.mean())


def test_a_share_that_is_turned_counts_little_in_the_prior_loss() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    upright = torch.eye(4, dtype=torch.float64)[0]
    as_found = logits.softmax(1) @ (0.1 + 0.6 * torch.eye(4, dtype=torch.float64))
    expected = -as_found[:, 0].log().mean()
    torch.testing.assert_close(prior_loss(logits, upright, 0.3), expected)
    torch.testing.assert_close(prior_loss(logits, upright, 0.0), prior_loss(logits, upright))
    surely_turned = torch.tensor([[-50.0, 50.0, 0.0, 0.0]], requires_grad=True)
    prior_loss(surely_turned, upright.float(), 0.3).backward()
    assert surely_turned.grad is not None
    assert surely_turned.grad.abs().max() < 1e-6


@pytest.mark.slow
def test_an_interrupted_run_goes_on(some_turned: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(rounds(some_turned, whole))
    train(rounds(some_turned, cut))
    (cut / "canonicalizer.safetensors").unlink()
    for name in ("canonicalizer.safetensors", "state.pt", "log.csv"):
        (cut / "round_1" / "run" / name).unlink()
    again = train(rounds(some_turned, cut))
    assert again.read_bytes() == (whole / "canonicalizer.safetensors").read_bytes()


@pytest.mark.slow
def test_a_further_round_goes_on_from_those_that_are_there(
    some_turned: Path, tmp_path: Path
) -> None:
    first = rounds(some_turned, tmp_path / "run")
    train(first)
    kept = tmp_path / "run" / "round_1" / "run" / "canonicalizer.safetensors"
    before = kept.stat().st_mtime_ns
    checkpoint = train(replace(first, realign=2))
    assert kept.stat().st_mtime_ns == before
    assert len(json.loads((tmp_path / "run" / "realign.json").read_text())["moved"]) == 2
    third = tmp_path / "run" / "round_2" / "run" / "canonicalizer.safetensors"
    assert checkpoint.read_bytes() == third.read_bytes() != kept.read_bytes()


def test_a_round_is_judged_once(
    some_turned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another machine, which rounds otherwise, would say of it changes nothing."""
    whole = train(rounds(some_turned, tmp_path / "run")).read_bytes()
    monkeypatch.setattr("samrot.training.realign.find_poses", lambda *_: pytest.fail("again"))
    assert train(rounds(some_turned, tmp_path / "run")).read_bytes() == whole


def test_labels_are_undone(some_turned: Path, tmp_path: Path) -> None:
    labels = {f"{i}.png": TURNED.get(f"{i}.png", 0) for i in range(24)}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    labelled = train(
        settings(some_turned, tmp_path / "a", labels=str(tmp_path / "labels.json"), val_every=24)
    )
    for name, turns in TURNED.items():
        image = read_image(some_turned / name)
        Image.fromarray(move_image(image, -turns % 4)).save(some_turned / name)
    upright = train(settings(some_turned, tmp_path / "b", val_every=24))
    photo = np.asarray(read_image(some_turned / "1.png"))
    one, other = (load_canonicalizer(path).logits(photo) for path in (labelled, upright))
    assert one.equal(other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"realign": -1}, "realign is -1; expected"),
        ({"turned_share": 0.75}, "turned_share is 0.75; expected"),
        (
            {"beta": 0.0, "task": TaskLossSettings(weight=1.0)},
            "turned_share is 0.2 with a beta of 0, the weight of the prior",
        ),
        ({"turned_share": 0.0}, "turned_share of 0; expected the share"),
        ({"devices": 2}, "it runs in one process"),
    ],
)
def test_bad_settings(changes: dict, words: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        settings(photos, tmp_path / "run", **{"realign": 1, "turned_share": 0.2, **changes})
