"""The diagnosis of a canonicalizer whose mistakes are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from samrot.cli import main
from samrot.commands.diagnose import DiagnoseSettings, diagnose
from samrot.data.photos import PhotoSettings
from samrot.errors import InputError
from samrot.geometry.groups import C4
from samrot.geometry.pose import Pose
from tests.conftest import random_photo


class BrightSide(nn.Module):
    """Takes the brightest side of a photo for its top: right 9 times of 10 sure."""

    group = C4
    set_threshold = 0.5

    def estimate(self, image: np.ndarray) -> Pose:
        sides = [np.rot90(image, -k)[: max(1, image.shape[0] // 4)].mean() for k in range(4)]
        pose = int(np.argmax(sides))
        return Pose(pose, probabilities=np.where(np.arange(4) == pose, 0.91, 0.03))

    def pose(self, image: np.ndarray) -> int:
        return self.estimate(image).element


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten photos with a bright top, stored upright but for the last, which is upside down."""
    monkeypatch.setattr(
        "samrot.canonicalizers.CanonicalizerChoice.load", lambda *_, **__: BrightSide()
    )
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(10):
        ramp = np.linspace(240, 10, 40)[:, None, None].repeat(64, 1).repeat(3, 2).astype(np.uint8)
        Image.fromarray(np.rot90(ramp, 2 if i == 9 else 0)).save(folder / f"{i}.png")
    return folder


def settings(photos: Path, out: Path, **changes: object) -> DiagnoseSettings:
    data = PhotoSettings(images=[str(photos)])
    return DiagnoseSettings(data=data, out=str(out), **changes)  # type: ignore[arg-type]


def test_without_labels_a_turned_photo_counts_as_a_mistake(photos: Path, tmp_path: Path) -> None:
    report = diagnose(settings(photos, tmp_path / "report", worst=4))
    assert report["pose_accuracy"] == report["pose_accuracy_jpeg"] == 0.9
    assert report["pose_accuracy_aspect_hidden"] == 0.9
    assert report["pose_confusion"] == [[9, 0, 1, 0], [0, 9, 0, 1], [1, 0, 9, 0], [0, 1, 0, 9]]
    assert report["stored_poses_predicted"] == [9, 0, 1, 0]
    assert report["canonicalised"] == [0.9, 0, 0.1, 0]
    assert report["kl_prior_to_canonicalised"] == pytest.approx(-np.log(0.9))
    assert report["circular_wasserstein"] == pytest.approx(0.2)
    assert report["reliability"]["expected_calibration_error"] == pytest.approx(0.01)
    sheet = np.asarray(Image.open(tmp_path / "report" / "worst.png"))
    assert sheet.shape == (328, 306, 3)  # one mistake, as displayed and as corrected
    assert (tmp_path / "report" / "reliability.png").stat().st_size > 1000
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report


def test_the_law_stands_in_for_the_other_turns(photos: Path, tmp_path: Path) -> None:
    quick, thorough = (
        diagnose(settings(photos, tmp_path / str(every), thorough=every, tilts=[10.0, 40.0]))
        for every in (False, True)
    )
    for report in (quick, thorough):
        del report["milliseconds"], report["reliability"]  # of each estimate
    assert quick == thorough
    assert quick["pose_accuracy_tilted"] == {"10": 0.9, "40": 0.9}
    table = (tmp_path / "True" / "report.md").read_text()
    assert "| pose accuracy, tilted by 40 degrees to either side | 0.9000 |" in table
    with pytest.raises(InputError, match="tilts entry is 50; expected a number of at least 0"):
        settings(photos, tmp_path / "far", tilts=[50])


def test_angles_of_the_whole_circle(photos: Path, tmp_path: Path) -> None:
    report = diagnose(settings(photos, tmp_path / "report", random_angles=3, worst=2))
    angles = report["angle_error_deg"]
    assert angles["draws"] == len(angles["by_draw"]) == 3
    assert angles["by_spread"] is None  # quarter turns have none
    # The brightest side is the nearest quarter turn, but for the photo that is upside down.
    assert angles["all"]["within_45"] == pytest.approx(0.9, abs=0.07)
    assert 10 < angles["all"]["median_of_those"] < 35
    assert np.mean([draw["mean"] for draw in angles["by_draw"]]) == pytest.approx(
        angles["all"]["mean"]
    )
    assert report["pose_sets"]["coverage"] == 0.9
    assert report["pose_sets"]["mean_size"] == 1
    table = (tmp_path / "report" / "report.md").read_text()
    assert "| share of angles within 45 degrees | " in table
    assert (
        "| pose sets that hold the true pose (promised: 0.98); mean size | 0.9000; 1.000 |" in table
    )
    sheet = np.asarray(Image.open(tmp_path / "report" / "worst_angles.png"))
    assert sheet.shape[0] == 328
    with pytest.raises(InputError, match="random_angles is -1; expected"):
        settings(photos, tmp_path / "no", random_angles=-1)


def test_labels_say_how_photos_are_stored(photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({f"{i}.png": 2 if i == 9 else 0 for i in range(10)}))
    report = diagnose(settings(photos, tmp_path / "report", labels=str(labels)))
    assert report["pose_accuracy"] == 1.0
    assert report["standard_error"] == pytest.approx(0.5 / 11)
    table = (tmp_path / "report" / "report.md").read_text()
    assert f"how they are turned: {labels}" in table
    assert "| photos as stored, predicted | 9 | 0 | 1 | 0 |" in table  # which labels are of
    assert not (tmp_path / "report" / "worst.png").exists()  # no mistakes
    assert report["canonicalised"] == [1.0, 0, 0, 0]
    assert report["kl_prior_to_canonicalised"] == 0
    even = diagnose(settings(photos, tmp_path / "even", labels=str(labels), prior=[0.25] * 4))
    assert even["kl_prior_to_canonicalised"] is None  # infinite


def test_bad_labels(photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    for content, message in (
        ([1], "hold a list; expected an object"),
        ({"0.png": 7}, "say 7 for 0.png; expected 0, 1, 2, 3 for every"),
    ):
        labels.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            diagnose(settings(photos, tmp_path / "report", labels=str(labels)))
    with pytest.raises(InputError, match="prior is"):
        diagnose(settings(photos, tmp_path / "report", prior=[1.0]))
    assert not (tmp_path / "report").exists()


def test_command_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "report")
    assert main(["diagnose", "--data.images", f"[{photos}]", "--out", out]) == 0
    shown = capsys.readouterr().out
    assert "| pose accuracy | 0.9000" in shown
    assert "no labels: every photo is taken to be upright as it is displayed" in shown
    assert "| photos as displayed, predicted | 9 | 0 | 1 | 0 |" in shown
    page = (tmp_path / "report" / "report.html").read_text()
    assert "as displayed, and as the canonicalizer corrects it" in page
    assert "| probability of the predicted pose, mean | 0.9100 |" in shown


def test_its_own_pictures_are_no_photos(photos: Path) -> None:
    out = photos / "report"
    assert diagnose(settings(photos, out))["photos"] == 10
    (out / "report.json").unlink()
    assert diagnose(settings(photos, out))["photos"] == 10


def test_photos_of_extreme_shapes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for height, width in ((1, 5000), (20000, 10), (1, 1)):
        path = tmp_path / "photos" / f"{height}x{width}.png"
        Image.fromarray(random_photo(0, height, width)).save(path)
    settings = DiagnoseSettings(
        out=str(tmp_path / "report"), data=PhotoSettings(images=[str(tmp_path / "photos")])
    )
    assert diagnose(settings)["photos"] == 3
