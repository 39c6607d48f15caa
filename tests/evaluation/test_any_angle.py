"""Evaluation at angles that are no quarter turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import samrot
from samrot.data.coco import CocoDataset, DataSettings
from samrot.errors import InputError
from samrot.evaluation.prompts import GroundTruthBoxes, PromptSettings
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.views import find_views, name_group
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.frames import CanonicalFrame
from samrot.segmenters import SegmenterSettings
from tests.evaluation.conftest import RODS

pytestmark = pytest.mark.usefixtures("bright")


def bright_boxes(image: np.ndarray) -> samrot.Detections:
    """A live detector: the upright bounds of what is bright."""
    bright = (image.mean(axis=2) > 190).astype(np.uint8)
    _, _, bounds, _ = cv2.connectedComponentsWithStats(bright)
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, area in bounds[1:] if area > 50], float)
    boxes = boxes.reshape(-1, 4)
    return samrot.Detections(boxes, np.full(len(boxes), 0.9), np.ones(len(boxes), int))


def settings(data: tuple[Path, Path], out: Path, **changes: Any) -> EvaluateSettings:
    return EvaluateSettings(
        data=DataSettings(images=str(data[0]), annotations=str(data[1])),
        out=str(out),
        segmenter=SegmenterSettings(name="bright"),
        **{"methods": ["none", "oracle"], **changes},
    )


LIVE = PromptSettings(source="detector", detector=f"{__name__}:bright_boxes")


def test_what_the_detector_sees_untilted_is_as_good_as_upright(
    rods: tuple[Path, Path], tmp_path: Path
) -> None:
    summary = evaluate(
        settings(rods, tmp_path / "run", angles=[0, 30, 90, 120, 215.5], prompts=LIVE)
    )
    plain, oracle = summary["methods"]["none"], summary["methods"]["oracle"]
    assert (summary["group"], summary["tilt"]) == ("SO(2)", "full")
    assert list(oracle["angles"]) == ["0", "30", "90", "120", "215.5"]
    upright = plain["angles"]["0"]
    assert upright["AP"] == upright["bbox"]["AP"] == pytest.approx(1)
    for scores in oracle["angles"].values():
        assert scores["AP"] > 0.85
        assert scores["bbox"]["AP"] > 0.85
    # Bounds of a tilted rod are not those of the rod.
    assert plain["angles"]["30"]["bbox"]["AP"] < 0.5
    every = [scores["AP"] for scores in oracle["angles"].values()]
    assert oracle["so2_avg"]["AP"] == pytest.approx(np.mean(every))
    assert oracle["so2_avg"]["worst_AP"] == min(every)
    assert oracle["c4_avg"]["AP"] is None  # 180 and 270 were not run
    assert oracle["retention"] == pytest.approx(np.mean(every) / upright["AP"])
    assert (tmp_path / "run" / "oracle_215.5_boxes.json").exists()
    table = (tmp_path / "run" / "summary.md").read_text()
    assert "| 0 | 30 | 90 | 120 | 215.5 | average of 5 | retention |" in table
    assert "segm AP around the circle" in (tmp_path / "run" / "report.html").read_text()


def test_boxes_that_are_given_are_not_untilted(rods: tuple[Path, Path], tmp_path: Path) -> None:
    tilted = {"angles": [0, 20, 110], "methods": ["oracle"]}
    auto = evaluate(settings(rods, tmp_path / "auto", **tilted))
    quarter = evaluate(settings(rods, tmp_path / "quarter", tilt="quarter", **tilted))
    full = evaluate(settings(rods, tmp_path / "full", tilt="full", **tilted))
    assert auto["tilt"] == "quarter"
    assert auto["methods"] == quarter["methods"] != full["methods"]
    for summary in (auto, full):
        oracle = summary["methods"]["oracle"]
        # 20 and 110 differ by a quarter turn, which is exact.
        assert oracle["equivariance"]["identical_masks"] == 1.0
        assert 0.8 < oracle["equivariance"]["mean_iou"] < 1


def test_ground_truth_boxes_are_those_of_the_turned_outlines(rods: tuple[Path, Path]) -> None:
    dataset = CocoDataset.load(*rods)
    view = find_views([30], None)[0]
    image = view.transform((120, 150)).image(dataset.read(1))
    frame = CanonicalFrame(Pose(), PlaneTransform(image.shape[:2], image.shape[:2]), False)
    boxes = GroundTruthBoxes(dataset).prompts(1, image, view, frame).boxes_xyxy
    seen = bright_boxes(image).boxes_xyxy
    assert np.abs(np.sort(boxes, axis=0) - np.sort(seen, axis=0)).max() < 2.5
    # Polygons and the mask that they fill have the same bounds, to a pixel.
    truth = dataset.instances(1)[0]
    polygon = cv2.ellipse2Poly(*RODS[0], 0, 0, 360, 3).astype(float).ravel().tolist()
    outlines = [dataset.outline(truth), dataset.outline({**truth, "segmentation": [polygon]})]
    bounds = [np.array([points.min(axis=0), points.max(axis=0)]) for points in outlines]
    assert np.abs(bounds[0] - bounds[1]).max() <= 1


def test_rotated_boxes_are_tight_at_any_angle(rods: tuple[Path, Path], tmp_path: Path) -> None:
    miou, passes = {}, {}
    for source in ("gt-rotated", "gt-rotated-hull"):
        prompts = PromptSettings(source=source)
        run = settings(
            rods, tmp_path / source, angles=[0, 30, 120], methods=["none"], prompts=prompts
        )
        summary = evaluate(run)
        assert summary["prompts"].startswith("ground-truth rotated boxes")
        plain = summary["methods"]["none"]
        miou[source] = [scores["mIoU"] for scores in plain["angles"].values()]
        passes[source] = plain["encoder_passes"]
    assert miou["gt-rotated"][0] == miou["gt-rotated-hull"][0]  # the rods lie along the axes
    assert min(miou["gt-rotated"]) > 0.85
    # All three lie alike: one frame more at each of the two tilted views.
    assert passes == {"gt-rotated": pytest.approx(5 / 3), "gt-rotated-hull": 1}
    with pytest.raises(InputError, match="tta, whose masks are of the same frames"):
        settings(
            rods, tmp_path / "tta", methods=["tta"], prompts=PromptSettings(source="gt-rotated")
        )


def test_eight_turns(rods: tuple[Path, Path], tmp_path: Path) -> None:
    summary = evaluate(settings(rods, tmp_path / "run", group="c8", methods=["canonical"]))
    canonical = summary["methods"]["canonical"]
    assert list(canonical["angles"]) == [str(45 * k) for k in range(8)]
    assert summary["group"] == "C8"
    assert canonical["retention"] is None  # the plain model was not run
    every = [scores["AP"] for scores in canonical["angles"].values()]
    assert canonical["c8_avg"]["AP"] == pytest.approx(np.mean(every))
    assert canonical["c4_avg"]["AP"] == pytest.approx(np.mean(every[::2]))
    # Turns by a quarter differ by nothing, those by 45 degrees by the resampling.
    assert canonical["equivariance"]["identical_masks"] == 1.0
    errors = canonical["angle_error_deg"]
    assert errors["within_45"] in (0.0, 0.5, 1.0)
    assert np.sum(canonical["pose_confusion"]) == 8


def test_views_know_how_far_a_pose_is_off() -> None:
    half, steep = find_views([45, 100], None)
    assert half.is_nearest(0)
    assert half.is_nearest(1)
    assert not half.is_nearest(2)
    assert steep.is_nearest(1)
    assert steep.error_deg(1, 10.0) == pytest.approx(0, abs=1e-6)
    assert steep.error_deg(0, 0.0) == pytest.approx(100)
    assert steep.error_deg(5, 10.0) == 180  # the other hand
    assert [view.file_key for view in find_views([7.5, 100], None)] == ["007.5", "100"]
    names = {tuple(angles): name_group(find_views(angles, None)) for angles in ([0], [45], [20])}
    assert list(names.values()) == ["C4", "C8", "SO(2)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"angles": [-15]}, "angles entry is -15; expected a number of at least 0 and at most"),
        ({"angles": [float("nan")]}, "angles entry is nan"),
        ({"angles": []}, "angles is .*expected each once, and at least one"),
        ({"angles": [15, 15.0]}, "expected each once"),
        ({"tilt": "half"}, "tilt is 'half'; expected one of: quarter, full, auto"),
        (
            {"angles": [15], "prompts": PromptSettings(source="detections", file="x.json")},
            "turned by 15 degrees, which detections on file do not have; set prompts.source",
        ),
    ],
)
def test_bad_angles(
    changes: dict[str, Any], message: str, rods: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        settings(rods, tmp_path / "run", **changes)
