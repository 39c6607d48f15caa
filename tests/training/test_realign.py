"""Training on photos that are not all upright."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samrot.canonicalizers import load_canonicalizer
from samrot.data.images import read_image
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.training.realign import find_poses
from samrot.training.train import TrainSettings, train
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
    return settings(photos, out, realign=1, realign_above=0.6, cutmix=0.0, **changes)


def test_photos_that_are_turned_are_found_and_moved(some_turned: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    checkpoint = train(rounds(some_turned, out))
    assert checkpoint == out / "canonicalizer.safetensors"
    assert json.loads((out / "realign.json").read_text()) == {"photos": 24, "moved": [4]}
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
    assert steps == ["12", "12"]


def test_without_a_threshold_the_surer_half_is_moved(some_turned: Path, tmp_path: Path) -> None:
    checkpoint = train(settings(some_turned, tmp_path / "run"))
    paths = sorted(some_turned.glob("*.png"))
    before = [4] * len(paths)  # of which no photo is
    found = find_poses(str(checkpoint), paths, True, before, None)
    canonicalizer = load_canonicalizer(checkpoint)
    estimates = [canonicalizer.estimate(read_image(path)) for path in paths]
    moved = [pose != 4 for pose in found]
    assert sum(moved) == len(paths) // 2
    for pose, estimate, is_moved in zip(found, estimates, moved, strict=True):
        assert not is_moved or pose == estimate.element
    least = min(e.confidence for e, m in zip(estimates, moved, strict=True) if m)
    assert least > max(e.confidence for e, m in zip(estimates, moved, strict=True) if not m)


def test_an_interrupted_run_goes_on(some_turned: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(rounds(some_turned, whole))
    train(rounds(some_turned, cut))
    (cut / "canonicalizer.safetensors").unlink()
    for name in ("canonicalizer.safetensors", "state.pt", "log.csv"):
        (cut / "round_1" / "run" / name).unlink()
    again = train(rounds(some_turned, cut))
    assert again.read_bytes() == (whole / "canonicalizer.safetensors").read_bytes()


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
        ({"realign": 24}, "realign is 24; expected"),
        ({"realign_above": 2.0}, "realign_above is 2"),
        ({"devices": 2}, "it runs in one process"),
    ],
)
def test_bad_settings(changes: dict, words: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        settings(photos, tmp_path / "run", **{"realign": 1, **changes})
