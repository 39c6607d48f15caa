"""A photo of bright rods, and a segmenter that finds what is bright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from samrot.geometry.rle import encode_mask
from samrot.segmenters import SEGMENTERS, Encoding, Prompts, Segmentation
from tests.conftest import write_coco

RODS = [((60, 40), (45, 9)), ((35, 95), (28, 6)), ((100, 90), (20, 12))]  # centre, half axes


class BrightSegmenter:
    """What is bright and in the box; logits are how bright, with a lean that does not turn along.

    Its predicted IoU is high where the top is dark, as it is in the upright photo.

    Args:
        lean: by how much the logits rise from the left edge to the right.
    """

    name = "bright"
    predicts_scores = True
    device = torch.device("cpu")

    def __init__(self, lean: float = 0.0) -> None:
        self.lean = lean

    def encode(self, image: np.ndarray) -> Encoding:
        return Encoding((image.shape[0], image.shape[1]), image.astype(np.float32).mean(axis=2))

    def decode(
        self, encoding: Encoding, prompts: Prompts, *, return_logits: bool = False, **_: Any
    ) -> Segmentation:
        height, width = encoding.size_hw
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        assert prompts.boxes_xyxy is not None
        inside = [(x > a) & (y > b) & (x < c) & (y < d) for a, b, c, d in prompts.boxes_xyxy]
        lean = (x / width - 0.5) * self.lean
        logits = np.where(np.stack(inside), encoding.features - 190 + lean, -60.0)
        planes = torch.from_numpy(logits.astype(np.float32))[:, None]
        return Segmentation(
            planes if return_logits else planes > 0,
            torch.full((len(planes), 1), 0.9 if encoding.features[:4].mean() < 60 else 0.6),
            planes,
        )


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENTERS, "bright", lambda checkpoint, device: BrightSegmenter())
    monkeypatch.setitem(SEGMENTERS, "leaning", lambda checkpoint, device: BrightSegmenter(160.0))


@pytest.fixture
def rods(tmp_path: Path) -> tuple[Path, Path]:
    """One photo of long bright things that lie along the axes, not square."""
    photo = np.full((120, 150, 3), 90, dtype=np.uint8)
    photo[:8] = 40  # the top tells itself
    annotations = []
    for number, (centre, axes) in enumerate(RODS, start=1):
        mask = np.zeros(photo.shape[:2], dtype=np.uint8)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
        photo[mask > 0] = 250
        x, y, width, height = cv2.boundingRect(mask)
        annotations.append(
            {
                "id": number, "image_id": 1, "category_id": 1, "iscrowd": 0,
                "area": int(mask.sum()), "bbox": [x, y, width, height],
                "segmentation": encode_mask(mask.astype(bool)),
            }
        )  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 120, "width": 150}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "rod"}],
    }
    return write_coco(tmp_path / "rods", content, {"1.png": photo})
