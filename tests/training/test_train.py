"""Training a canonicalizer: it learns, it resumes, it refuses what it cannot use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samrot.canonicalizers import load_canonicalizer
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.cli import main
from samrot.data.photos import PhotoSettings
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.training.fit_settings import OptimSettings
from samrot.training.losses import prior_loss
from samrot.training.pose_photos import PoseAugmentation, PosePhotos
from samrot.training.train import train
from samrot.training.train_settings import CanonicalizerSettings, TrainSettings
from tests.conftest import small_options


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Upright 'photos': bright above, dark below, noise."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(24):
        height, width = (48, 64) if i % 2 else (64, 48)
        ramp = np.linspace(220, 30, height)[:, None, None] + random.normal(
            0, 25, (height, width, 3)
        )
        Image.fromarray(np.clip(ramp, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def settings(photos: Path, out: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "out": str(out),
        "data": PhotoSettings(images=[str(photos)]),
        "val": PhotoSettings(images=[str(photos)]),
        "canonicalizer": CanonicalizerSettings(
            architecture="gcnn", size=17, options={"widths": [4, 8]}
        ),
        "optim": OptimSettings(
            steps=24, batch_size=8, warmup_steps=2, learning_rate=0.01, ema_decay=0.8
        ),
        "workers": 0,
        "val_every": 12,
    }
    return TrainSettings(**{**values, **changes})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "frame"),
    [
        ("gcnn", "square"),
        ("gwrn", "letterbox"),
        ("orbit_cnn", "square"),
        ("orbit_lite0", "square"),
        ("escnn_wrn", "square"),
    ],
)
def test_learns_which_way_is_up(
    architecture: str, frame: str, photos: Path, tmp_path: Path
) -> None:
    if architecture == "escnn_wrn":
        pytest.importorskip("escnn", reason="escnn is not installed")
    chosen = CanonicalizerSettings(
        architecture=architecture, size=17, frame=frame, options=small_options(architecture)
    )
    canonicalizer = load_canonicalizer(
        train(settings(photos, tmp_path / "run", canonicalizer=chosen))
    )
    image = np.asarray(Image.open(photos / "1.png"))
    assert [canonicalizer.pose(move_image(image, k)) for k in range(4)] == [0, 1, 2, 3]
    log = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert log[0] == "step,loss,pose_accuracy,learning_rate,val_pose_accuracy"
    assert float(log[-1].split(",")[-1]) > 0.9


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(settings(photos, tmp_path / "whole"))
    wanted = settings(photos, tmp_path / "cut")
    steps = iter(range(15))

    def stop_after_15_steps(*arguments: Any) -> torch.Tensor:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return prior_loss(*arguments)

    monkeypatch.setattr("samrot.training.pose_objectives.prior_loss", stop_after_15_steps)
    with pytest.raises(KeyboardInterrupt):
        train(wanted)
    monkeypatch.undo()
    assert train(wanted).read_bytes() == whole.read_bytes()


def test_more_steps_at_a_constant_rate(photos: Path, tmp_path: Path) -> None:
    def of_steps(steps: int, out: str, **changes: Any) -> TrainSettings:
        optim = OptimSettings(steps=steps, batch_size=4, warmup_steps=1, ema_decay=0.5, **changes)
        return settings(photos, tmp_path / out, optim=optim)

    constant = {"schedule": "constant"}
    whole = train(of_steps(4, "whole", **constant)).read_bytes()
    train(of_steps(2, "grown", **constant))
    assert train(of_steps(4, "grown", **constant)).read_bytes() == whole
    with pytest.raises(InputError, match=r"optim.steps, which was 4, may only grow; choose"):
        train(of_steps(3, "grown", **constant))
    train(of_steps(2, "cosine"))
    with pytest.raises(
        InputError, match=r"\(optim.steps\); the rate of a cosine schedule depends on its last"
    ):
        train(of_steps(4, "cosine"))
    with pytest.raises(InputError, match="optim.schedule is 'step'; expected one of: cosine"):
        OptimSettings(schedule="step")


def test_a_batch_that_does_not_fit(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_size(out: str) -> TrainSettings:
        optim = OptimSettings(steps=1, batch_size=12, warmup_steps=1, ema_decay=0.5)
        return settings(photos, tmp_path / out, optim=optim)

    measured = train(of_size("measured")).read_bytes()
    monkeypatch.setattr("samrot.training.fit.UNCHECKED", 12)
    assert train(of_size("not")).read_bytes() == measured  # measuring leaves no trace
    monkeypatch.undo()
    monkeypatch.setattr("samrot.training.fit.bytes_of_each", lambda work: 2.0**30)
    monkeypatch.setattr("samrot.runtime.memory.free_bytes", lambda: 10 << 30)
    message = "optim.batch_size is 12, .*; raise optim.accumulate, or set it to 8 or less"
    with pytest.raises(InputError, match=message):
        train(of_size("refused"))
    assert (tmp_path / "refused" / "config.yaml").is_file()
    smaller = OptimSettings(steps=1, batch_size=8, warmup_steps=1, ema_decay=0.5)
    train(settings(photos, tmp_path / "refused", optim=smaller))  # nothing was done in it yet
    with pytest.raises(InputError, match=r"other settings \(optim.batch_size\)"):
        train(of_size("refused"))


def test_prior_loss() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64)
    upright = torch.tensor([1.0, 0, 0, 0])
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(prior_loss(logits, upright), expected)
    prior = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)
    torch.testing.assert_close(
        prior_loss(prior.log().expand(3, 4), prior), torch.zeros((), dtype=torch.float64)
    )
    kl = torch.nn.functional.kl_div(
        logits.log_softmax(-1), prior.expand(5, 4), reduction="batchmean"
    )
    torch.testing.assert_close(prior_loss(logits, prior), kl)
    with pytest.raises(InputError, match=r"prior has shape \(3,\); expected \(4,\)"):
        prior_loss(logits, prior[:3])
    with pytest.raises(InputError, match="is not a distribution"):
        prior_loss(logits, prior * 2)


def test_a_soft_prior_trains(photos: Path, tmp_path: Path) -> None:
    wanted = settings(photos, tmp_path / "run", prior=[0.7, 0.1, 0.1, 0.1], cutmix=0.0)
    canonicalizer = load_canonicalizer(train(wanted))
    prediction = canonicalizer.estimate(np.asarray(Image.open(photos / "1.png")))
    assert prediction.element == 0
    assert 0.5 < prediction.probabilities[0] < 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": PhotoSettings()}, r"data\.images is empty"),
        ({"data": PhotoSettings(images=["no/where"])}, "no/where does not exist"),
        ({"prior": [0.5, 0.5, 0, 0]}, "cutmix is 0.3 with prior"),
        ({"canonicalizer": CanonicalizerSettings(architecture="vit")}, "architecture is 'vit'"),
        (
            {"data": PhotoSettings(images=["a", "b"], annotations="c.json")},
            "with 2 image folders; expected one",
        ),
    ],
)
def test_bad_settings(changes: dict[str, Any], message: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train(settings(photos, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "samrot.training.pose_objectives.prior_loss",
        lambda logits, *_: logits.sum() * float("nan"),
    )
    with pytest.raises(
        InputError, match=r"the loss is nan .*at step 0; .*lower optim\.learning_rate"
    ):
        train(settings(photos, tmp_path / "run"))


@pytest.mark.slow
def test_kill_dash_nine_ends_with_the_same_weights(photos: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        return [
            "train", "--data.images", f"[{photos}]",
            "--out", str(out), "--canonicalizer.architecture", "gcnn", "--canonicalizer.size", "17",
            "--optim.steps", "60", "--optim.batch_size", "4", "--val_every", "10",
        ]  # fmt: skip

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "samrot", *command(killed)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (killed / "state.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    step = torch.load(killed / "state.pt", weights_only=True)["step"]
    assert 10 <= step < 60
    for out in (killed, tmp_path / "whole"):
        assert main(command(out)) == 0
    files = [out / "canonicalizer.safetensors" for out in (killed, tmp_path / "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list(killed.glob("*.partial"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_breaks_in_a_worker_is_one_line(
    workers: int, photos: Path, tmp_path: Path
) -> None:
    wanted = settings(photos, tmp_path / "run", workers=workers, cache=False, val=PhotoSettings())
    real = PosePhotos._read
    with pytest.MonkeyPatch.context() as patch:

        def read(dataset: PosePhotos, index: int) -> np.ndarray:
            if index == 3:
                raise InputError("image 3.png cannot be decoded")
            return real(dataset, index)

        patch.setattr(PosePhotos, "_read", read)
        with pytest.raises(InputError) as caught:
            train(wanted)
    assert str(caught.value) == "image 3.png cannot be decoded"


def test_init_continues_from_a_checkpoint(photos: Path, tmp_path: Path) -> None:
    first = train(settings(photos, tmp_path / "first"))
    frozen = OptimSettings(steps=1, batch_size=2, learning_rate=0.0, warmup_steps=0)
    again = train(settings(photos, tmp_path / "again", init=str(first), optim=frozen))
    assert again.read_bytes() == first.read_bytes()
    other = CanonicalizerSettings(architecture="gcnn", size=17, options={"widths": [4, 12]})
    with pytest.raises(InputError, match="of another architecture"):
        train(settings(photos, tmp_path / "other", init=str(first), canonicalizer=other))


@pytest.mark.parametrize("frame", ["square", "letterbox"])
def test_views_are_repeatable(frame: str, photos: Path) -> None:
    paths = sorted(photos.iterdir())
    streams = [
        PosePhotos(paths, Thumbnail(17, frame), PoseAugmentation(), cache=cache, seed=1)
        for cache in (True, False)
    ]
    for n in (0, 5, 30, 5):
        views = [stream[n] for stream in streams]
        assert views[0].shape == (3, 17, 17)
        assert views[0].dtype == torch.uint8
        assert torch.equal(views[0], views[1])
    assert not torch.equal(streams[0][0], streams[0][24])


def test_cutmix_lends_a_rectangle_of_another_photo(photos: Path) -> None:
    for value, path in enumerate(sorted(photos.iterdir())):
        Image.fromarray(np.full((40, 40, 3), 10 * value, dtype=np.uint8)).save(path)
    plain = PoseAugmentation(tilt_deg=0.0, colour=0.0, degrade=0.0, erase=0.0)
    paths = sorted(photos.iterdir())
    mixed = PosePhotos(paths, Thumbnail(17), plain, cutmix=1.0, seed=1)
    num_values = [len(mixed[n].unique()) for n in range(12)]
    assert max(num_values) == 2
    assert len(PosePhotos(paths, Thumbnail(17), plain, seed=1)[0].unique()) == 1
