"""torchvision's Mask R-CNN as a detector: the real class with random weights, no download."""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path

import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

import samrot
from samrot.models import load_detector
from samrot.models.mask_rcnn import MaskRCNNDetector, torchvision_mask_rcnn
from tests.conftest import random_photo


def test_mask_rcnn_boxes() -> None:
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=5, min_size=64, max_size=96,
        box_score_thresh=0.0, box_detections_per_img=7,
    )  # fmt: skip
    detector = MaskRCNNDetector(model)
    found = samrot.canonicalized(detector)(random_photo(0, 48, 64))
    assert len(found) == 7
    assert found.boxes_xyxy.shape == (7, 4)
    assert found.boxes_xyxy[:, 0::2].max() <= 64
    assert found.boxes_xyxy[:, 1::2].max() <= 48
    assert set(found.category_ids.tolist()) <= {1, 2, 3, 4}
    assert found.masks is not None
    assert found.masks.shape == (7, 48, 64)


@pytest.mark.parametrize(
    "text", ["1 / 0", "import sys; sys.exit(3)", "def detect(:", "import no_such_module", "x = 1"]
)
def test_modules_that_fail_to_import(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_detector.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_detector", raising=False)
    with pytest.raises(samrot.InputError, match="'broken_detector:detect' cannot be imported"):
        load_detector("broken_detector:detect", "cpu")


def test_missing_weights_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models.detection.maskrcnn_resnet50_fpn", offline)
    with pytest.raises(samrot.InputError, match=r"cannot be downloaded .* put https://"):
        torchvision_mask_rcnn()
