"""The parts of the study: which trainings it runs, and what of a canonicalizer it measures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from studies.evidence import Evidence, Said
from studies.items import ITEMS, TRAINED
from studies.numbers import Number, Sample, read_rows, table, write_rows
from studies.policies import policies, segmented_turns
from studies.precision import PlainRun, once, plain_settings
from studies.scale import Point, fit_cost, model_error, of_even_rounds
from studies.settings import merged, read_settings
from studies.trained import MEASURES, rank_correlations
from studies.trainings import Photos, list_trainings, resolve, undone_turns

from samrot.canonicalizers import build_canonicalizer, save_canonicalizer
from samrot.data.pose_labels import estimate_prior
from samrot.errors import InputError
from samrot.evaluation.runner import evaluate
from samrot.geometry.groups import C4


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Forty photos, of which one is held out."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (4, 3)).save(folder / f"{number}.png")
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("photos/7.png")
    return Photos(str(folder), None, str(held_out))


def test_options_belong_to_one_architecture() -> None:
    base = {"canonicalizer": {"size": 65, "options": {"widths": [1], "blocks": 1}}, "beta": 1.0}
    changes = {"canonicalizer": {"options": {"widths": [2]}}}
    expected = {"canonicalizer": {"size": 65, "options": {"widths": [2]}}, "beta": 1.0}
    assert merged(base, changes) == expected
    assert base["canonicalizer"]["options"] == {"widths": [1], "blocks": 1}, "left as it was"  # type: ignore[index]


def test_trainings_that_items_share_have_one_name() -> None:
    names = {item: {t.name for t in list_trainings(item)} for item in TRAINED}
    assert names["alignment"] & names["training_photos"], "the prior loss, of upright photos"
    assert names["alignment"] & names["prior_strength"], "task and prior, at a beta of 1"
    for item in TRAINED:
        trainings = list_trainings(item)
        by_label = {tuple(training.labels.values()) for training in trainings}
        assert len(by_label) == len(trainings)
    assert list_trainings("traffic") == []


def test_the_true_prior_is_that_of_the_photos() -> None:
    for training in list_trainings("training_photos"):
        if training.labels["objective"] == "true prior":
            assert training.settings["prior"] == training.settings["photos"]["turned"]
        elif training.labels["objective"] == "taught":
            assert (training.settings["prior"], training.settings["teacher"]) == (None, "c4")
        else:
            assert training.settings["prior"] == [1, 0, 0, 0]


def test_labels_turn_photos(photos: Photos, tmp_path: Path) -> None:
    shares = [0.5, 0.5, 0, 0]
    chosen = next(
        training
        for training in list_trainings("training_photos")
        if training.settings["photos"]["turned"] == shares
    )
    settings = resolve(chosen.settings, photos, tmp_path / "poses.json")
    labels = json.loads((tmp_path / "poses.json").read_text())
    assert len(labels) == 39
    assert "7.png" not in labels, "it is held out"
    assert settings["labels"] == str(tmp_path / "poses.json")
    # Undoing a turn by 270 degrees that is not there turns the photo by 90.
    assert set(labels.values()) == {0, C4.inverse(1)}
    paths = [Path(photos.upright) / name for name in labels]
    assert estimate_prior(paths, settings["labels"])[3] == pytest.approx(0.5, abs=0.25)


def test_shares_turned() -> None:
    poses = np.array(undone_turns(20000, [0.7, 0.1, 0.15, 0.05], seed=1))
    turned = np.bincount(-poses % 4, minlength=4) / 20000
    assert turned == pytest.approx([0.7, 0.1, 0.15, 0.05], abs=0.01)


def test_training_through_a_segmenter_needs_masks(photos: Photos, tmp_path: Path) -> None:
    through_sam = list_trainings("prior_strength")[0]
    with pytest.raises(InputError, match="need --masked IMAGES ANNOTATIONS"):
        resolve(through_sam.settings, photos, tmp_path / "poses.json")


def test_settings_name_what_there_is() -> None:
    for item in ITEMS:
        settings = read_settings(item)
        assert settings["learned"]
        assert set(settings.get("measures", ())) <= set(MEASURES)
        assert ("axes" in settings) == (item in TRAINED)


def evidence(*probabilities: list[float]) -> Evidence:
    return Evidence(np.array(probabilities), np.ones(len(probabilities)))


def test_a_photo_is_left_with_what_is_not_undone() -> None:
    said = evidence([0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.2, 0.1, 0.6])
    assert said.errors.tolist() == [0, 3, 1]
    assert said.correct.tolist() == [1, 0, 0]
    # Of photos turned by 90 degrees the law says the same, a turn on.
    assert said.turned[1].argmax(axis=1).tolist() == [1, 2, 0]


def test_policies() -> None:
    arrives = np.array([0.7, 0.1, 0.1, 0.1])
    said = evidence([0.1, 0.8, 0.05, 0.05], [0.0, 0.95, 0.05, 0.0])
    chosen = policies(said, arrives, gate=0.9)
    assert chosen["none"].tolist() == [[0, 0]] * 4
    assert chosen["canonical"][0].tolist() == [1, 1]
    assert chosen["gated"][0].tolist() == [0, 1], "0.8 is not sure enough"
    assert chosen["pose_prior"][0].tolist() == [1, 1], "0.1 x 0.7 is less than 0.8 x 0.1"
    left = segmented_turns(chosen["none"], arrives)
    np.testing.assert_allclose(left, [arrives, arrives])
    # What is undone wrongly leaves each photo turned alike, however it arrived.
    np.testing.assert_allclose(segmented_turns(chosen["canonical"], arrives), once(said.errors))


def test_a_sample_knows_what_does_not_count() -> None:
    sample = Sample(3, 500)
    means = sample.mean(np.array([1.0, np.nan, 3.0]))
    assert means[0] == 2
    assert means.shape == (501,)
    assert 1 <= np.nanmin(means) < np.nanmax(means) <= 3
    np.testing.assert_allclose(
        sample.of(lambda drawn: float(drawn.mean())), sample.mean(np.arange(3))
    )


def test_rows_come_back_as_a_table(tmp_path: Path) -> None:
    sample = Sample(100, 200)
    values = sample.mean(np.arange(100) % 2)
    numbers = [
        Number({"name": "a"}, "accuracy", 100, np.stack([values, values + 0.2])),
        Number({"name": "a"}, "parameters", 100, np.full((1, 201), 12345.0)),
        Number({"name": "b"}, "accuracy", 100, np.full((1, 201), np.nan)),
    ]
    write_rows(tmp_path / "a.csv", numbers, "the command")
    rows = read_rows(tmp_path / "a.csv")
    assert [row["value"] for row in rows] == ["0.6000", "12345", ""]
    assert (rows[0]["seeds"], rows[0]["photos"], rows[0]["command"]) == ("2", "100", "the command")
    assert float(rows[0]["high"]) - float(rows[0]["low"]) > 0.2, "seeds differ too"
    lines = table(rows).splitlines()
    assert lines[0] == "| name | accuracy | parameters |"
    assert lines[2].startswith("| a | 0.6000 (0.")
    assert lines[2].endswith(") | 12345 |")


def test_rank_correlations() -> None:
    first = np.tile([[1.0], [2.0], [3.0], [4.0]], (1, 6))
    assert rank_correlations(first, np.exp(first)) == pytest.approx(1.0, nan_ok=True)
    assert rank_correlations(first, -first)[0] == pytest.approx(-1.0)
    # Two of four are exchanged: 1 - 6 x 2 / (4 x 15).
    exchanged = np.tile([[1.0], [2.0], [4.0], [3.0]], (1, 6))
    assert rank_correlations(first, exchanged)[0] == pytest.approx(0.8)


def test_a_linear_cost_is_found() -> None:
    weights = np.array([0.1, 0.2, 0.03, 0.004, 0.005, 0.006])
    grid = [
        (side, boxes, turns) for side in (256, 512, 768) for boxes in (1, 4, 9) for turns in (0, 1)
    ]
    seconds = {Point(*p): np.full(3, np.dot(Point(*p).features, weights)) for p in grid}
    points = list(seconds)
    fitted = fit_cost(points, [seconds[point][0] for point in points])
    np.testing.assert_allclose(fitted, weights, rtol=1e-6)
    held_out = [point for point in points if point.side == 512 or point.boxes == 4]
    sample = Sample(3, 5)
    assert model_error(seconds, held_out, sample) == pytest.approx(0, abs=1e-6)
    slowness = np.array([1.0, 3.0, 1.5])
    even = of_even_rounds({point: times * slowness for point, times in seconds.items()})
    assert model_error(even, held_out, sample) == pytest.approx(0, abs=1e-6)
    seconds[Point(512, 4, 0)] = seconds[Point(512, 4, 0)] / 2
    assert model_error(seconds, held_out, sample) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.filterwarnings("always:the .* was trained on:UserWarning")
def test_canonicalized_photos_are_a_choice_among_the_plain_ones(
    scenes_folder: Path, tmp_path: Path
) -> None:
    """AP of a canonicalizer that is often wrong, by the choice and by ``samrot evaluate``."""
    torch.manual_seed(3)
    untrained = build_canonicalizer("gcnn", size=33, frame="squares", mirror_average=False)
    checkpoint = tmp_path / "untrained.safetensors"
    save_canonicalizer(untrained, checkpoint, architecture="gcnn", options={})
    coco = (str(scenes_folder / "images"), str(scenes_folder / "annotations.json"))
    settings = plain_settings(tmp_path / "plain", coco, None, limit=None, device="cpu")
    evaluate(settings)
    plain = PlainRun(Path(settings.out), settings.data.load(), 2)
    errors = Said(tmp_path / "said", plain.paths, None)("untrained", checkpoint).errors
    assert (errors > 0).sum() > 0
    chosen = plain.precision(once(errors))[0]

    canonical = plain_settings(tmp_path / "canonical", coco, None, limit=None, device="cpu")
    canonical.methods = ["canonical"]
    canonical.canonicalizer.name = str(checkpoint)
    measured = evaluate(canonical)["methods"]["canonical"]
    assert measured["pose_accuracy"] == pytest.approx((errors == 0).mean())
    for angle in C4.names:
        assert measured["angles"][angle]["AP"] == pytest.approx(chosen, abs=1e-9)
    every = plain.precision(np.full((len(plain.sample), 4), 0.25))[0]
    assert plain.at_turns[:, 0].min() <= every <= plain.at_turns[:, 0].max()
