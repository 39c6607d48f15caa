"""Evaluation over mirror images, and composition for groups that do not commute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samrot.canonicalizers import CanonicalizerChoice, save_canonicalizer
from samrot.cli import main
from samrot.data.coco import CocoDataset, DataSettings
from samrot.errors import InputError
from samrot.evaluation.pose_accuracy import PoseAccuracy
from samrot.evaluation.prompts import ViewDetections
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.views import find_views
from samrot.geometry import exact
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.frames import find_frame
from samrot.robust.pose_sources import GivenPose
from samrot.segmenters import SEGMENTERS, SegmenterSettings
from samrot.structures.detections import Detections
from tests.conftest import ThresholdSegmenter, small_d4

VIEWS = ["0", "90", "180", "270", "m0", "m90", "m180", "m270"]


@pytest.fixture(autouse=True)
def segmenters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENTERS, "threshold", lambda checkpoint, device: ThresholdSegmenter())


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "d4.safetensors"
    save_canonicalizer(small_d4(), path, architecture="orbit_cnn", options={"widths": [16, 32]})
    return str(path)


def settings(folder: Path, out: Path, **changes: object) -> EvaluateSettings:
    data = DataSettings(images=str(folder / "images"), annotations=str(folder / "annotations.json"))
    return EvaluateSettings(
        data=data, out=str(out), segmenter=SegmenterSettings(name="threshold"), **changes
    )  # type: ignore[arg-type]


@pytest.mark.slow
def test_all_eight_views(scenes_folder: Path, checkpoint: str, tmp_path: Path) -> None:
    summary = evaluate(
        settings(
            scenes_folder, tmp_path / "run", group="d4", methods=["none", "canonical", "oracle"],
            canonicalizer=CanonicalizerChoice(name=checkpoint),
        )
    )  # fmt: skip
    assert summary["group"] == "D4"
    plain, canonical, oracle = summary["methods"].values()
    for result in (plain, canonical, oracle):
        assert list(result["angles"]) == VIEWS
        every = [scores["AP"] for scores in result["angles"].values()]
        assert result["d4_avg"]["AP"] == pytest.approx(np.mean(every), abs=1e-12)
        assert result["c4_avg"]["AP"] == pytest.approx(np.mean(every[:4]), abs=1e-12)
    assert plain["equivariance"]["identical_masks"] < 0.1
    assert canonical["equivariance"] == {"identical_masks": 1.0, "mean_iou": 1.0}
    assert oracle["d4_avg"]["mIoU"] == pytest.approx(plain["angles"]["0"]["mIoU"], abs=1e-6)
    # By the law, turning a photo by g turns its estimate by g: the rows are permuted alike.
    first = canonical["pose_confusion"][0]
    for g, row in enumerate(canonical["pose_confusion"]):
        assert row == [first[D4.compose(D4.inverse(g), h)] for h in range(8)]
    assert canonical["pose_accuracy"] == first[0] / 6
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"none_m000.json", "canonical_m270.json", "oracle_090.json"} <= files
    table = (tmp_path / "run" / "summary.md").read_text()
    assert f"| method | quantity | {' | '.join(VIEWS)} | D4 average | retention |" in table


@pytest.mark.slow
def test_retention_is_a_ratio_of_the_group_average(scenes_folder: Path, tmp_path: Path) -> None:
    wanted = settings(scenes_folder, tmp_path / "run", group="d4", methods=["none"], limit=1)
    wanted.segmenter.name = "sam_mini"
    result = evaluate(wanted)["methods"]["none"]
    upright, average = result["angles"]["0"]["AP"], result["d4_avg"]["AP"]
    assert 0 < upright != average
    assert result["retention"] == pytest.approx(average / upright)


def test_a_group_is_short_for_its_angles(scenes_folder: Path, tmp_path: Path) -> None:
    short, long, default = (
        evaluate(settings(scenes_folder, tmp_path / name, limit=2, methods=["none"], **given))
        for name, given in {
            "short": {"group": "c4"},
            "long": {"angles": [0, 90, 180, 270]},
            "default": {},
        }.items()
    )
    assert short["methods"] == long["methods"] == default["methods"]
    with pytest.raises(InputError, match=r"group is 'd4' and angles \[0\]; .* give one of the two"):
        settings(scenes_folder, tmp_path / "both", group="d4", angles=[0])
    with pytest.raises(InputError, match="group is 'c5'; expected one of: c4, c8, d4"):
        settings(scenes_folder, tmp_path / "c5", group="c5")


def test_a_c4_canonicalizer_cannot_tell_mirrors(scenes_folder: Path, tmp_path: Path) -> None:
    summary = evaluate(
        settings(scenes_folder, tmp_path / "run", group="d4", methods=["canonical"], limit=2)
    )
    confusion = np.array(summary["methods"]["canonical"]["pose_confusion"])
    assert confusion.shape == (8, 8)
    assert confusion[:, 4:].sum() == 0
    assert summary["methods"]["canonical"]["pose_accuracy"] <= 0.5


@pytest.mark.parametrize("moved_by", range(8))
@pytest.mark.parametrize("estimated", range(8))
def test_detections_are_those_of_what_the_method_sees(
    moved_by: int, estimated: int, scenes: CocoDataset
) -> None:
    """Moved by g and estimated as p, a photo is canonically p^-1 g of the upright one."""
    image_id = scenes.image_ids[0]
    size_hw, upright = scenes.size_hw(image_id), scenes.read(image_id)
    box = np.array([[3.0, 5.0, 40.0, 25.0]])
    by_element = {
        g: {image_id: Detections(exact.move_boxes(box, g, size_hw), np.ones(1), np.array([g]))}
        for g in range(8)
    }
    view = find_views((), "d4")[moved_by]
    image = view.transform(size_hw).image(upright)
    frame = find_frame(image, GivenPose(Pose(estimated)))
    found = ViewDetections(scenes, by_element).prompts(image_id, image, view, frame)
    (seen,) = found.category_ids
    assert np.array_equal(frame.canonical_image(image), exact.move_image(upright, int(seen)))
    assert np.array_equal(found.boxes_xyxy, exact.move_boxes(box, moved_by, size_hw))
    del by_element[int(seen)]
    with pytest.raises(InputError, match=f"no detections on photos moved by {D4.names[seen]}"):
        ViewDetections(scenes, by_element).prompts(image_id, image, view, frame)


class CornerMark:
    """Knows the element that moved a photo by its two marked corners."""

    set_threshold = None
    group = D4

    def estimate(self, image: np.ndarray) -> Pose:
        for g in range(8):
            back = exact.move_image(image, D4.inverse(g))
            if (back[:4, :4] == 200).all() and (back[:4, -4:] == 100).all():
                return Pose(g, probabilities=np.where(np.arange(8) == g, 0.93, 0.01))
        return Pose(0, probabilities=np.full(8, 0.125))

    def pose(self, image: np.ndarray) -> int:
        return self.estimate(image).element

    def parameters(self) -> list[object]:
        return []


@pytest.mark.parametrize("own_pose", range(8))
def test_a_photo_that_is_stored_turned_is_moved_on_from_there(
    own_pose: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright = np.zeros((40, 40, 3), dtype=np.uint8)
    upright[:4, :4], upright[:4, -4:] = 200, 100
    photo = PlaneTransform.from_pose(Pose(own_pose), (40, 40)).image(upright)
    monkeypatch.setattr("samrot.evaluation.pose_accuracy.read_image", lambda *_, **__: photo)
    monkeypatch.setattr("samrot.evaluation.pose_accuracy.as_jpeg", lambda image: image)
    accuracy = PoseAccuracy(CornerMark(), apply_exif=None, thorough=True)  # type: ignore[arg-type]
    accuracy.update(tmp_path / "photo.png", own_pose)
    report = accuracy.report("corner mark", [1.0] + [0.0] * 7, None)
    assert report["pose_accuracy"] == report["pose_accuracy_aspect_hidden"] == 1.0
    assert report["canonicalised"] == [1.0] + [0.0] * 7
    assert report["circular_wasserstein"] is None  # D4 is no circle


def test_mirrored_copies(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "moved"
    assert main(["rotate-coco", str(scenes_folder), str(target), "--angles", "m0", "m270"]) == 0
    assert sorted(path.name for path in target.glob("m*")) == ["m000", "m270"]
    moved = CocoDataset.load(target / "m270" / "images", target / "m270" / "annotations.json")
    scenes = CocoDataset.load(scenes_folder / "images", scenes_folder / "annotations.json")
    for image_id in scenes.image_ids:
        assert np.array_equal(moved.read(image_id), exact.move_image(scenes.read(image_id), 7))
    assert main(["rotate-coco", str(scenes_folder), str(target), "--angles", "m45"]) == 2
    assert json.loads((target / "m000" / "annotations.json").read_text())["images"]
