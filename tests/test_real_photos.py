"""On real COCO photos, where they are at hand beside the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samrot import load_canonicalizer
from samrot.canonicalizers import BUNDLED
from samrot.data.coco import DataSettings
from samrot.data.images import list_images, read_image
from samrot.evaluation.prompts import PromptSettings
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.geometry.exact import move_image
from samrot.geometry.pose import quarter_turns

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_canonicalizers_know_which_way_is_up(name: str, coco_mini: Path) -> None:
    canonicalizer = load_canonicalizer(name)
    poses = []
    paths = list_images(coco_mini / "val2017")
    for index, path in enumerate(paths):
        image = read_image(path, apply_exif=False)
        poses.append(canonicalizer.pose(image))
        if index < 5:
            group = canonicalizer.group
            moved = [canonicalizer.pose(move_image(image, g)) for g in range(group.order)]
            assert moved == [group.compose(g, poses[-1]) for g in range(group.order)]
    turns = np.array([quarter_turns(pose) for pose in poses])
    assert np.mean(turns == 0) > 0.86


def real_settings(coco_mini: Path, out: Path, **changes: object) -> EvaluateSettings:
    return EvaluateSettings(
        data=DataSettings(
            images=str(coco_mini / "val2017"),
            annotations=str(coco_mini / "annotations" / "instances_val2017.json"),
        ),
        out=str(out),
        **changes,  # type: ignore[arg-type]
    )


def test_canonical_masks_are_identical_at_all_angles(coco_mini: Path, tmp_path: Path) -> None:
    summary = evaluate(real_settings(coco_mini, tmp_path / "run", limit=3))
    canonical = summary["methods"]["canonical"]
    assert canonical["equivariance"]["identical_masks"] == 1.0
    averages, upright = canonical["c4_avg"], canonical["angles"]["0"]
    assert averages["AP"] == pytest.approx(upright["AP"], abs=1e-6)
    assert summary["methods"]["none"]["equivariance"]["identical_masks"] < 0.9


def test_the_detectors_boxes_come_back(coco_mini: Path, tmp_path: Path) -> None:
    """The real detector's four files: its boxes collapse on turned photos, but not canonically."""
    files = {
        angle: str(coco_mini / "detections" / f"detector_val2017_{angle:03d}.json")
        for angle in (0, 90, 180, 270)
    }
    prompts = PromptSettings(source="detections", file=files, min_score=0.3, max_per_image=4)
    summary = evaluate(
        real_settings(
            coco_mini, tmp_path / "run", limit=8, prompts=prompts, methods=["none", "oracle"]
        )
    )
    plain, oracle = summary["methods"]["none"], summary["methods"]["oracle"]
    assert plain["c4_avg"]["bbox_AP"] < 0.8 * plain["angles"]["0"]["bbox"]["AP"]
    assert oracle["bbox_retention"] == pytest.approx(1.0)
