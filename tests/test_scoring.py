"""AP is pycocotools' AP: checked against the raw library, and on the truth itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samrot.data.coco import CocoDataset
from samrot.errors import InputError
from samrot.geometry.actions import rotate_rle
from samrot.scoring import SCORERS, average_precision, encode_mask, equivariance, mean, rle_iou


def noisy_results(scenes: CocoDataset) -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    results = []
    for image_id in scenes.image_ids:
        for annotation in scenes.instances(image_id):
            mask = np.roll(scenes.mask(annotation), int(random.integers(0, 9)), axis=1)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": annotation["category_id"],
                    "segmentation": encode_mask(mask),
                    "score": float(random.random()),
                }
            )
    return results


@pytest.fixture(params=SCORERS)
def scorer(request: pytest.FixtureRequest) -> str:
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    return str(request.param)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_equals_raw_pycocotools(
    kind: str, scorer: str, scenes_folder: Path, scenes: CocoDataset, tmp_path: Path
) -> None:
    results = noisy_results(scenes)
    if kind == "bbox":
        for result in results:
            result["bbox"] = coco_mask.toBbox(result.pop("segmentation")).tolist()
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    truth = COCO(scenes_folder / "annotations.json")
    evaluation = COCOeval(truth, truth.loadRes(str(path)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = average_precision(scenes.content, results, scenes.image_ids, kind, scorer)
    assert ours["AP"] is not None
    assert 0.05 < ours["AP"] < 0.95
    for name, value in zip(ours, evaluation.stats[:6], strict=True):
        assert ours[name] == (None if value < 0 else pytest.approx(value, rel=0, abs=1e-9))
        if scorer == "pycocotools" and value >= 0:
            assert ours[name] == value


def test_truth_scores_one_and_nothing_scores_zero(scorer: str, scenes: CocoDataset) -> None:
    results = [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "segmentation": rotate_rle(rotate_rle(scenes.rle(annotation), 1), 3),
            "score": 1.0,
        }
        for annotation in scenes.content["annotations"]
    ]
    kept = json.dumps(scenes.content)
    found = average_precision(scenes.content, results, scenes.image_ids, "segm", scorer)
    assert found["AP"] == pytest.approx(1.0, abs=1e-9)
    assert average_precision(scenes.content, [], scenes.image_ids, "segm", scorer)["AP"] == 0
    assert json.dumps(scenes.content) == kept


def test_undefined_is_none(scorer: str, scenes: CocoDataset) -> None:
    empty = {**scenes.content, "annotations": []}
    assert average_precision(empty, [], scenes.image_ids, "segm", scorer)["AP"] is None
    assert mean([]) is None
    assert mean([1.0, None]) is None
    assert mean([1.0, 0.0]) == 0.5


def test_equivariance() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:4, 2:6] = True
    other = mask.copy()
    other[1, 2] = False
    rle, different = encode_mask(mask), encode_mask(other)
    same = equivariance([[rle, rle]] * 4)
    assert same == {"identical_masks": 1.0, "mean_iou": 1.0}
    one_off = equivariance([[rle, rle], [rle, rle], [rle, different], [rle, rle]])
    assert one_off["identical_masks"] == 0.5
    assert one_off["mean_iou"] == pytest.approx((5 + 11 / 12) / 6)
    empty = encode_mask(np.zeros((6, 8)))
    assert rle_iou(empty, empty) == 1.0
    assert rle_iou(empty, rle) == 0.0


def test_unknown_scorers(scenes: CocoDataset) -> None:
    with pytest.raises(InputError, match="scorer is 'coco'; expected one of: pycocotools, faster"):
        average_precision(scenes.content, [], scenes.image_ids, "segm", "coco")
