"""Evaluation of classifiers: exact turns are exact, what is known is undone, runs continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.canonicalizers import CanonicalizerChoice, build_canonicalizer, save_canonicalizer
from samrot.cli import main
from samrot.data.classified_photos import ClassifiedPhotoSettings
from samrot.evaluation.class_summary import nearest_element
from samrot.evaluation.runner import evaluate
from samrot.evaluation.tasks.classification import ClassificationSettings, ClassifierChoice
from samrot.geometry.groups import C4, C8
from samrot.geometry.pose import Pose
from samrot.models.classifiers import ClassifierNetwork, save_classifier
from tests.conftest import CLASSES, coloured_photo, write_classes

HERE = "tests.evaluation.test_classification"
TURNS = {"C4": list(C4.names), "C8": list(C8.names)}


def knows_upright_photos(image: np.ndarray) -> np.ndarray:
    """Scores by colour where the sky is above; the first class where it is not."""
    rows = image.mean(axis=(1, 2))
    half = len(rows) // 2
    upright = rows[:half].mean() - rows[half:].mean() > 40
    colours = image.mean(axis=(0, 1))[::-1]
    return colours - colours.mean() if upright else np.array([1.0, 0, 0])


def two_scores(image: np.ndarray) -> np.ndarray:
    return np.zeros(2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "photos", num_each=2)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "network.safetensors"
    save_classifier(ClassifierNetwork("cifar_resnet20", CLASSES), path)
    return path


def canonicalizer(path: Path, group: str, architecture: str = "orbit_cnn") -> str:
    torch.manual_seed(1)
    options = {"widths": [16]}
    mirrors = group == "d4"
    made = build_canonicalizer(
        architecture, group=group, size=17, mirror_average=not mirrors, **options
    )
    save_canonicalizer(made, path, architecture=architecture, options=options)
    return str(path)


def settings(photos: Path, out: Path, **changes: Any) -> ClassificationSettings:
    values: dict[str, Any] = {
        "data": ClassifiedPhotoSettings(images=str(photos)),
        "classifier": ClassifierChoice(name=f"{HERE}:knows_upright_photos"),
        "methods": ["none", "oracle"],
        "out": str(out),
    }
    return ClassificationSettings(**{**values, **changes})


def test_what_is_known_is_undone(photos: Path, tmp_path: Path) -> None:
    summary = evaluate(settings(photos, tmp_path / "run", group="c8", bootstrap=50))
    plain, oracle = summary["methods"].values()
    assert list(plain["angles"]) == TURNS["C8"]
    assert plain["angles"]["0"]["accuracy"] == 1
    assert plain["angles"]["180"]["accuracy"] == pytest.approx(1 / 3)
    assert all(scores["accuracy"] == 1 for scores in oracle["angles"].values())
    assert oracle["c4_avg"] == oracle["c8_avg"] == {"accuracy": 1.0, "worst": 1.0}
    expected = np.mean([scores["accuracy"] for scores in plain["angles"].values()])
    assert plain["c8_avg"]["accuracy"] == pytest.approx(expected)
    assert plain["c8_avg"]["worst"] == pytest.approx(1 / 3)
    assert plain["retention"] == pytest.approx(expected)
    assert oracle["retention"] == oracle["identical_scores"] == 1
    assert plain["identical_scores"] < 1
    found = summary["intervals"]["methods"]["oracle"]["accuracy"]
    assert found["average"] == [1, 1]
    assert found["minus_none"]["angles"]["0"] == [0, 0]
    low, high = found["minus_none"]["angles"]["180"]
    assert 0 < low < 2 / 3 < high <= 1
    text = (tmp_path / "run" / "summary.md").read_text()
    assert "| C8 average | worst | retention |" in text
    assert "95 % intervals, 50 paired resamples" in text


@pytest.mark.parametrize(("group", "architecture"), [("c4", "gcnn"), ("c8", "orbit_cnn")])
def test_quarter_turns_have_the_same_scores_to_the_bit(
    group: str, architecture: str, photos: Path, network: Path, tmp_path: Path
) -> None:
    """Whatever a canonicalizer says, it says it of all quarter turns alike."""
    name = canonicalizer(tmp_path / "canonicalizer.safetensors", group, architecture)
    wanted = settings(
        photos, tmp_path / "run", group="c8", methods=["none", "canonical", "oracle"],
        classifier=ClassifierChoice(name="cifar_resnet20", checkpoint=str(network)),
        canonicalizer=CanonicalizerChoice(name=name),
    )  # fmt: skip
    summary = evaluate(wanted)
    plain, canonical, oracle = summary["methods"].values()
    assert canonical["identical_scores"] == oracle["identical_scores"] == 1
    for first in ("0", "45"):
        turns = [name for name in C8.names if (int(name) - int(first)) in (0, 90, 180, 270)]
        for result in (canonical, oracle):
            assert len({result["angles"][turn]["accuracy"] for turn in turns}) == 1
    assert oracle["angles"]["0"] == plain["angles"]["0"]
    assert summary["pose_group"] == "C8"
    confusion = np.array(canonical["pose_confusion"])
    assert confusion.shape == (8, 8)
    assert confusion.sum(axis=1).tolist() == [6] * 8
    assert canonical["pose_accuracy"] == pytest.approx(np.trace(confusion) / 48)
    turned = np.roll(np.roll(confusion, -2, axis=0), -2, axis=1)
    np.testing.assert_array_equal(turned, confusion)  # the law, for quarter turns


def test_a_run_is_continued_and_read_again(photos: Path, network: Path, tmp_path: Path) -> None:
    chosen = ClassifierChoice(name="cifar_resnet20", checkpoint=str(network))
    whole = evaluate(settings(photos, tmp_path / "whole", classifier=chosen))
    run = tmp_path / "run"
    evaluate(settings(photos, run, classifier=chosen, limit=4))
    grown = evaluate(settings(photos, run, classifier=chosen))
    assert grown["methods"] == whole["methods"]
    lines = (run / "records.jsonl").read_text().splitlines(keepends=True)
    (run / "records.jsonl").write_text("".join(lines[:3]) + lines[3][:9])
    (run / "summary.json").unlink()
    again = evaluate(settings(photos, run, classifier=chosen))
    assert again["methods"] == whole["methods"]
    network.unlink()  # a finished run loads no model
    assert evaluate(settings(photos, run, classifier=chosen)) == again
    assert [json.loads(line)["image_id"] for line in (run / "records.jsonl").open()] == [*range(6)]


def test_what_ships_is_what_is_evaluated(tmp_path: Path) -> None:
    """``canonicalized`` shows a classifier what the evaluation shows it: all of one size."""
    name = canonicalizer(tmp_path / "canonicalizer.safetensors", "c8")
    shown: list[np.ndarray] = []

    def classifier(image: np.ndarray) -> np.ndarray:
        shown.append(image)
        return knows_upright_photos(image)

    robust = samrot.canonicalized(classifier, name, output="scores")
    photo = coloured_photo(1, 0, (16, 24))
    for turn in range(4):
        robust(np.ascontiguousarray(np.rot90(photo, turn)))
    assert {image.tobytes() for image in shown} == {shown[0].tobytes()}
    assert sorted(shown[0].shape[:2]) == [16, 24]


def test_poses_are_told_apart_by_the_finer_group() -> None:
    for g in range(8):
        pose = Pose.of_element(C8, g)
        assert nearest_element(C8, pose.element, pose.tilt_deg) == g
        assert nearest_element(C8, pose.element, pose.tilt_deg + 20) == g
    assert nearest_element(C4, 1, 30.0) == 1
    assert nearest_element(C4, 3, 46.0) == 0


def test_command_line(
    photos: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["evaluate", "--task", "classification", "--methods", "none"]
    given += ["--classifier.checkpoint", str(network), "--data.images"]
    assert main([*given, str(photos), "--group", "c8", "--out", f"{tmp_path}/a"]) == 0
    assert "accuracy of cifar_resnet20 on 6 photos of 3 classes" in capsys.readouterr().out
    d4 = canonicalizer(tmp_path / "d4.safetensors", "d4")
    other = write_classes(tmp_path / "other")
    (other / "red").rename(other / "pink")
    out = ["--out", f"{tmp_path}/b"]
    for extra, message in (
        (["--group", "d4"], "group is 'd4'; expected one of: c4, c8"),
        (["--images_per_batch", "0"], "images_per_batch is 0; expected a number of at least 1"),
        (["nowhere"], "data.images nowhere does not exist"),
        ([str(other)], "has 'pink'"),
        (["--data.split", "val"], "data.split is 'val'; expected one of: train, test"),
        (["--classifier.name", "cifar_resnet56"], "is a cifar_resnet20; set classifier.name to"),
        (["--methods", "canonical", "--canonicalizer.name", d4], "tells mirror images apart (D4)"),
        (["--segmenter.name", "box"], "segmenter"),
    ):
        images = [] if extra[0][0] != "-" else [str(photos)]
        assert main([*given, *images, *extra, *out]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_callable_of_other_classes(photos: Path, tmp_path: Path) -> None:
    chosen = ClassifierChoice(name=f"{HERE}:two_scores")
    with pytest.raises(samrot.InputError, match="returned 2 scores; expected 3, one for each"):
        evaluate(settings(photos, tmp_path / "run", classifier=chosen))
