"""A vector that turns with the photo: by quarter turns exactly, by others nearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samrot
from samrot.canonicalizers import build_canonicalizer
from samrot.canonicalizers.escnn_so2 import GatedNorm, PlainVectors, VectorCanonicalizer, spread_deg
from samrot.cli import main
from samrot.geometry.exact import move_image
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.training.tilt import von_mises_loss
from tests.conftest import random_photo


@pytest.fixture
def small() -> VectorCanonicalizer:
    pytest.importorskip("escnn", reason="escnn is not installed")
    torch.manual_seed(0)
    built = build_canonicalizer("escnn_so2", size=65, dead_band_deg=0, widths=[4, 8])
    assert isinstance(built, VectorCanonicalizer)
    built.network = built.network.export()
    return built.eval()


def smooth_photo(side: int = 120) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    waves = [np.sin(x / 9 + y / 17), np.cos(x / 13 - y / 8), np.sin(x * y / 700)]
    return np.rint(127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def test_the_export_is_the_same() -> None:
    pytest.importorskip("escnn", reason="escnn is not installed")
    from samrot.canonicalizers.escnn_so2 import EscnnVectors

    torch.manual_seed(1)
    network = EscnnVectors((2, 3)).eval()
    images = torch.randn(2, 3, 33, 33)
    exported = network.export()
    assert type(exported) is PlainVectors
    with torch.no_grad():
        torch.testing.assert_close(exported(images), network(images))


@pytest.mark.parametrize("size_hw", [(40, 56), (41, 56), (33, 33)])
def test_exact_turns_share_the_tilt(small: VectorCanonicalizer, size_hw: tuple[int, int]) -> None:
    image = random_photo(3, *size_hw)
    pose = small.estimate(image)
    for k in range(4):
        turned = small.estimate(move_image(image, k))
        assert turned.element == (k + pose.element) % 4
        assert turned.tilt_deg == pose.tilt_deg


def test_the_vector_turns_in_the_sense_of_the_photo(small: VectorCanonicalizer) -> None:
    photo = smooth_photo()
    upright = small.logits(photo)[:2].numpy()
    for tilt_deg in (20.0, -30.0):
        turn = PlaneTransform.from_pose(Pose(0, tilt_deg), photo.shape[:2])
        vector = small.logits(turn.image(photo, fill=None))[:2].numpy()
        cos, sin = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
        expected = np.array([[cos, -sin], [sin, cos]]) @ upright
        opposite = np.array([[cos, sin], [-sin, cos]]) @ upright
        off = np.linalg.norm(vector - expected)
        assert off < 0.5 * np.linalg.norm(upright)
        assert off < 0.7 * np.linalg.norm(vector - opposite)


def test_small_tilts_are_none(small: VectorCanonicalizer) -> None:
    image = random_photo(3, 40, 56)
    assert small.estimate(image).tilt_deg != 0
    small.rule = type(small.rule)(dead_band_deg=45)
    assert small.estimate(image).tilt_deg == 0


def test_gates_open_and_shut() -> None:
    norm = GatedNorm(2)
    fields = torch.randn(1, 2 * 4 + 2 * 2 * 3, 5, 5)
    with torch.no_grad():
        assert norm(fields).shape == (1, 2 + 12, 5, 5)
        norm.bias[2:] = -50.0
        assert norm(fields)[:, 2:].abs().max() < 1e-10
        assert norm(fields)[:, :2].abs().max() > 0.1


def test_the_loss_is_that_of_the_density() -> None:
    angles = torch.linspace(-torch.pi, torch.pi, 20001, dtype=torch.float64)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    vector = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    density = torch.stack(
        [von_mises_loss(vector, each[None]) for each in directions[:-1:10]]
    ).neg().exp() / (2 * torch.pi)
    assert float(density.sum() * 2 * torch.pi / 2000) == pytest.approx(1.0, abs=1e-6)
    assert spread_deg(0.0) > 300
    assert spread_deg(100.0) == pytest.approx(np.rad2deg(0.1), rel=0.01)


def test_it_is_trained_by_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("escnn", reason="escnn is not installed")
    (tmp_path / "photos").mkdir()
    for seed in range(4):
        Image.fromarray(random_photo(seed, 60, 80)).save(tmp_path / "photos" / f"{seed}.png")
    arguments = [
        "train", "--canonicalizer.architecture", "escnn_so2", "--canonicalizer.size", "17",
        "--canonicalizer.options", "{widths: [1, 2]}", "--canonicalizer.dead_band_deg", "0",
        "--data.images", str(tmp_path / "photos"), "--val.images", str(tmp_path / "photos"),
        "--optim.steps", "2", "--optim.batch_size", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(arguments) == 0
    loaded = samrot.load_canonicalizer(tmp_path / "run" / "canonicalizer.safetensors")
    assert isinstance(loaded, VectorCanonicalizer)
    assert loaded.rule.dead_band_deg == 0
    pose = loaded.estimate(random_photo(9, 40, 50))
    assert pose.tilt_spread_deg is not None
    assert "val_within_5_deg" in (tmp_path / "run" / "log.csv").read_text()
