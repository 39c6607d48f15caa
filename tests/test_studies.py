"""The parts of the study: which trainings it runs, and what of a canonicalizer it measures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from studies.settings import merged
from studies.trainings import Photos, list_trainings, resolve, undone_turns

from samrot.data.pose_labels import estimate_prior
from samrot.errors import InputError
from samrot.geometry.groups import C4

TRAINED = ("expressivity", "training_photos", "alignment", "prior_strength")


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
    assert names["alignment"] & names["expressivity"], "the prior loss, of two networks"
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
