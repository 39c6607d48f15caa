"""Detections in other tools' formats, read by the tools themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from samrot.errors import InputError
from samrot.geometry.rle import decode_mask, encode_mask, rle_iou
from samrot.structures.detections import Detections
from samrot.structures.interop import (
    coco_results,
    from_supervision,
    label_studio_task,
    mask_polygons,
    to_supervision,
)

SIZE = (37, 52)


@pytest.fixture
def found() -> Detections:
    """A rectangle at the edge, and a mask of two parts, one of a single pixel."""
    masks = np.zeros((2, *SIZE), dtype=bool)
    masks[0, :20, 5:30] = True
    masks[1, 25:33, 40:52] = np.tri(8, 12, 3, dtype=bool)
    masks[1, 2, 50] = True
    boxes = [[5, 0, 30, 20], [40, 2, 52, 33]]
    return Detections(np.array(boxes), np.array([0.9, 0.25]), np.array([3, 7]), masks)


def test_supervision_and_back(found: Detections) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    there = to_supervision(found)
    assert isinstance(there, supervision.Detections)
    assert there.area.tolist() == found.masks.sum(axis=(1, 2)).tolist()  # type: ignore[union-attr]
    back = from_supervision(there)
    for name, value in vars(found).items():
        np.testing.assert_allclose(getattr(back, name), value, rtol=1e-6)
    assert len(from_supervision(to_supervision(Detections.none()))) == 0
    with pytest.raises(InputError, match="confidence is None; expected a number"):
        from_supervision(supervision.Detections(xyxy=np.zeros((1, 4))))


@pytest.mark.parametrize("polygons", [False, True])
def test_pycocotools_reads_the_results(found: Detections, tmp_path: Path, polygons: bool) -> None:
    height, width = SIZE
    dataset = {
        "images": [{"id": 4, "height": height, "width": width, "file_name": "a.png"}],
        "annotations": [],
        "categories": [{"id": 3, "name": "three"}, {"id": 7, "name": "seven"}],
        "info": {},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    results = coco_results(found, 4, polygons=polygons)
    (tmp_path / "results.json").write_text(json.dumps(results))
    loaded = COCO(str(tmp_path / "dataset.json")).loadRes(str(tmp_path / "results.json"))
    assert found.masks is not None
    for annotation, mask in zip(loaded.loadAnns(loaded.getAnnIds()), found.masks, strict=True):
        np.testing.assert_array_equal(decode_mask(loaded.annToRLE(annotation)), mask)
    assert [r["category_id"] for r in results] == [3, 7]


def test_boxes_alone(found: Detections) -> None:
    boxes = Detections(found.boxes_xyxy, found.scores, found.category_ids)
    assert coco_results(boxes, 4)[1] == {
        "image_id": 4, "category_id": 7, "bbox": [40, 2, 12, 31], "score": 0.25,
    }  # fmt: skip
    shapes = label_studio_task(boxes, "a.png", SIZE, {3: "three", 7: "seven"})["predictions"][0]
    value = shapes["result"][0]["value"]
    assert value["rectanglelabels"] == ["three"]
    assert value["x"] == pytest.approx(100 * 5 / 52)
    assert value["height"] == pytest.approx(100 * 20 / 37)


def test_label_studio_gets_polygons_in_percent(found: Detections) -> None:
    task = json.loads(json.dumps(label_studio_task(found, "a.png", SIZE, {3: "a", 7: "b"})))
    assert task["data"] == {"image": "a.png"}
    shapes = task["predictions"][0]["result"]
    assert [s["value"]["polygonlabels"] for s in shapes] == [["a"], ["b"], ["b"]]  # two parts
    points = np.array(shapes[0]["value"]["points"]) * [52 / 100, 37 / 100]
    np.testing.assert_allclose([points.min(0), points.max(0)], [[5, 0], [30, 20]], atol=0.17)
    with pytest.raises(InputError, match="category_names lacks 7; expected a name"):
        label_studio_task(found, "a.png", SIZE, {3: "a"})


def test_outlines_fill_holes_and_hold_nothing_else() -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[5:15, 5:15] = True
    whole = encode_mask(mask)
    mask[8:10, 8:10] = False
    (outline,) = mask_polygons(mask)
    from pycocotools import mask as coco_mask

    (filled,) = coco_mask.frPyObjects([outline.ravel().tolist()], *SIZE)
    assert rle_iou(filled, whole) == 1.0
    assert mask_polygons(np.zeros(SIZE, dtype=bool)) == []


def test_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    text = (Path(__file__).parents[2] / "docs" / "interop.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(code, names)
    written = {"results.json", "results_for_fiftyone.json", "tasks.json"}
    assert {p.name for p in tmp_path.iterdir()} == written
    with_boxes = json.loads((tmp_path / "results_for_fiftyone.json").read_text())
    assert with_boxes[0]["bbox"] == [200, 100, 60, 200]
