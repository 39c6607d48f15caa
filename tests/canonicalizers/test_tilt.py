"""Any angle: an exact part that keeps its law to the bit, and a tilt after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import samrot
from samrot.canonicalizers.checkpoints import build_tilt_canonicalizer, save_canonicalizer
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.canonicalizers.tilt import (
    TiltCanonicalizer,
    TiltNetwork,
    TiltRule,
    bin_angles_deg,
    summarise_tilt,
)
from samrot.cli import main
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4, rotation_matrix
from samrot.training.pose_photos import PoseAugmentation
from samrot.training.tilt import TiltPhotos
from tests.conftest import random_photo

EVERY_TILT = TiltRule(dead_band_deg=0, unknown_below=0)


class Says(nn.Module):
    """A tilt network that always says the same, with a spread."""

    def __init__(self, tilt_deg: float, spread_deg: float = 1.0) -> None:
        super().__init__()
        self.logits = -((bin_angles_deg() - tilt_deg) ** 2) / (2 * spread_deg**2)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def saying(tilt_deg: float, rule: TiltRule, spread_deg: float = 1.0) -> TiltCanonicalizer:
    exact_part, network = samrot.load_canonicalizer("c4"), Says(tilt_deg, spread_deg)
    return TiltCanonicalizer(exact_part, network, Thumbnail(33), rule).eval()


@pytest.mark.parametrize("size_hw", [(40, 56), (41, 56), (33, 33)])
def test_exact_turns_share_the_tilt_to_the_bit(size_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    tilted = build_tilt_canonicalizer("tilt_lite0", "c4", size=33, rule=EVERY_TILT, stages=2).eval()
    image = random_photo(3, *size_hw)
    pose = tilted.estimate(image)
    assert pose.tilt_deg != 0
    for k in range(4):
        turned = tilted.estimate(move_image(image, k))
        assert turned.element == D4.compose(k, pose.element)
        assert turned.tilt_deg == pose.tilt_deg
        assert turned.tilt_spread_deg == pose.tilt_spread_deg


def test_a_wrong_neighbour_is_mended() -> None:
    image = random_photo(3, 40, 56)
    exact_pose = samrot.load_canonicalizer("c4").estimate(image)
    for tilt_deg, quarters, rest in ((50.0, 1, -40.0), (-50.0, 3, 40.0), (30.0, 0, 30.0)):
        pose = saying(tilt_deg, EVERY_TILT).estimate(image)
        assert pose.element == (exact_pose.element + quarters) % 4
        assert pose.tilt_deg == pytest.approx(rest, abs=1e-6)
        assert pose.probabilities is not None
        assert exact_pose.probabilities is not None
        assert np.array_equal(pose.probabilities, np.roll(exact_pose.probabilities, quarters))
        assert pose.confidence == exact_pose.confidence


def test_small_and_unknown_tilts_are_none() -> None:
    image = random_photo(3, 40, 56)
    rule = TiltRule(dead_band_deg=3, unknown_below=0.5)
    assert saying(2.0, rule).estimate(image).tilt_deg == 0
    assert saying(4.0, rule).estimate(image).tilt_deg == pytest.approx(4.0)
    unknown = saying(10.0, rule, spread_deg=200.0).estimate(image)
    assert unknown.tilt_deg == 0
    assert unknown.tilt_spread_deg is not None
    assert unknown.tilt_spread_deg > 20
    with pytest.raises(InputError, match="dead_band_deg is -1"):
        TiltRule(dead_band_deg=-1)


def test_expectation_is_around_the_mode() -> None:
    shares = torch.zeros(len(bin_angles_deg()), dtype=torch.float64)
    shares[60 + 10], shares[60 + 12], shares[60 - 40] = 0.35, 0.35, 0.3
    found, spread, share = summarise_tilt(shares)
    assert share == pytest.approx(0.7)
    assert found == pytest.approx(11.0)
    assert 20 < spread < 30  # of the whole: 11 with 0.7 and -40 with 0.3


def test_corners_do_not_tell() -> None:
    torch.manual_seed(0)
    network = TiltNetwork(0, stages=2).eval()
    images = torch.randn(1, 3, 33, 33)
    other = images.clone()
    other[..., :4, :4] = 9.0
    other[..., 0, -1] = -9.0
    with torch.no_grad():
        assert torch.equal(network(images), network(other))
        other[..., 16, 16] += 1.0
        assert not torch.equal(network(images), network(other))


def test_views_are_tilted_by_what_they_say(tmp_path: Path) -> None:
    """A ramp that rises to the right points, in a view, where the tilt takes it."""
    from PIL import Image

    ramp = np.broadcast_to(np.linspace(40, 215, 160)[None, :, None], (120, 160, 3))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "ramp.png")
    plain = PoseAugmentation(colour=0.0, degrade=0.0, erase=0.0, mirror=0.5)
    views = TiltPhotos([tmp_path / "ramp.png"], Thumbnail(33), plain, seed=1)
    for n in range(8):
        view, angle_deg = views[n]
        again, same_angle = views[n]
        assert torch.equal(view, again)
        assert angle_deg == same_angle
        rise_y, rise_x = np.gradient(view[0].double().numpy()[8:25, 8:25])
        direction = np.array([rise_x.mean(), rise_y.mean()])
        expected = rotation_matrix(angle_deg) @ (1.0, 0.0)
        cosine = abs(direction @ expected) / np.linalg.norm(direction)  # a mirror turns it round
        assert cosine > np.cos(np.deg2rad(2.0))


@pytest.mark.slow
def test_trained_saved_and_used(scenes_folder: Path, tmp_path: Path) -> None:
    images = str(scenes_folder / "images")
    quick = [
        "--optim.steps", "2", "--optim.batch_size", "4", "--optim.warmup_steps", "1", "--workers",
        "0", "--canonicalizer.size", "33", "--optim.bfloat16", "false",
        "--canonicalizer.options", "{stages: 3, frozen_stages: 1}",
    ]  # fmt: skip
    options = ["train", "--data.images", images, *quick, "--canonicalizer.architecture"]
    out = tmp_path / "run"
    code = main(
        [*options, "tilt_lite1", "--canonicalizer.base", "c4", "--init", "base", "--val.images",
         images, "--val_limit", "2", "--val_every", "2", "--out", str(out)]
    )  # fmt: skip
    assert code == 0
    assert "val_within_5_deg" in (out / "log.csv").read_text()
    path = out / "canonicalizer.safetensors"
    assert path.stat().st_size < 400_000  # the base is not written again
    loaded = samrot.load_canonicalizer(path)
    assert isinstance(loaded, TiltCanonicalizer)
    base = samrot.load_canonicalizer("c4")
    assert base.trained_on is not None
    assert loaded.trained_on is not None
    assert set(base.trained_on.tolist()) < set(loaded.trained_on.tolist())
    image = random_photo(5, 48, 64)
    exact_pose = samrot.load_canonicalizer("c4").estimate(image)
    assert loaded.logits(image).argmax() == exact_pose.element
    predictor = samrot.RobustPredictor(samrot.load_segmenter("box"), path, tilt="full")
    predictor.set_image(image)
    masks, _, _ = predictor.predict(box=np.array([8.0, 8, 40, 40]), multimask_output=False)
    assert masks.shape == (1, 48, 64)
    assert main(["export", "--canonicalizer.name", str(path), "--out", str(tmp_path / "onnx")]) == 2
    copy = tmp_path / "copy.safetensors"
    save_canonicalizer(
        loaded, copy, architecture="tilt_lite1", base="c4",
        options={"stages": 3, "frozen_stages": 1},
    )  # fmt: skip
    assert samrot.load_canonicalizer(copy).estimate(image).tilt_deg == predictor.tilt_deg


def test_messages(scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["train", "--data.images", str(scenes_folder / "images"), "--out", str(tmp_path / "o")]
    for options, message in (
        (["tilt_lite0"], "canonicalizer.base is not set for tilt_lite0"),
        (["tilt_lite0", "--canonicalizer.base", "c4", "--init", "base"], "of another network"),
        (["tilt_lite1", "--canonicalizer.base", "c4", "--init", "c4"], "base or imagenet as init"),
    ):
        assert main([*common, "--canonicalizer.architecture", *options]) == 2
        assert message in capsys.readouterr().err


def test_a_burst_has_one_tilt() -> None:
    """Evidence for the tilt is summed in the frame that the photos share."""
    canonicalizer = samrot.load_canonicalizer("so2")
    images = [random_photo(seed, 64, 80) for seed in range(3)]
    together = canonicalizer.estimate_many(images)
    assert canonicalizer.estimate_many(images[::-1]).tilt_deg == together.tilt_deg
    turned = canonicalizer.estimate_many([move_image(image, 1) for image in images])
    assert (turned.element, turned.tilt_deg) == ((together.element + 1) % 4, together.tilt_deg)
    alone, one = canonicalizer.estimate(images[0]), canonicalizer.estimate_many(images[:1])
    assert (alone.element, alone.tilt_deg) == (one.element, one.tilt_deg)
