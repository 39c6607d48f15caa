"""AP is pycocotools' AP: checked against the raw library, and on the truth itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samrot.data.coco import CocoDataset
from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.geometry.rle import RLE, encode_mask, rle_iou
from samrot.scoring import METRICS, SCORERS, Equivariance, average_precision, image_matches, mean


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
    for k, category_id in enumerate(evaluation.params.catIds):
        precision = evaluation.eval["precision"][:, :, k, 0, -1]
        expected = None if precision.max() < 0 else pytest.approx(precision.mean(), abs=1e-9)
        assert ours["AP_by_category"][category_id] == expected  # type: ignore[index]
    for name, value in zip(METRICS, evaluation.stats[:6], strict=True):
        assert ours[name] == (None if value < 0 else pytest.approx(value, rel=0, abs=1e-9))
        if scorer == "pycocotools" and value >= 0:
            assert ours[name] == value


def there_and_back(rle: RLE) -> RLE:
    height, width = rle["size"]
    turn = PlaneTransform.from_pose(Pose(1), (height, width))
    return turn.inverse().rle(turn.rle(rle))


def precision_of_matches(
    matches: list[list[dict[str, Any]]], threshold: int, area: int, category_id: int
) -> float | None:
    """Mean interpolated precision from kept matches, as COCO defines it."""
    found = [m for image in matches for m in image if m["category_id"] == category_id]
    objects = sum(m["objects"][area] for m in found)
    if objects == 0:
        return None
    scores = np.concatenate([m["scores"] for m in found])
    matched, ignored = (
        np.concatenate([np.array(m[key][area], dtype=int) for m in found]) >> threshold & 1
        for key in ("matched", "ignored")
    )
    order = np.argsort(-scores, kind="mergesort")
    counted = order[ignored[order] == 0]
    hits = np.cumsum(matched[counted])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(hits / objects, np.linspace(0, 1, 101), side="left")
    return float(np.mean([precision[i] if i < len(precision) else 0.0 for i in at]))


def test_kept_matches_give_the_same_precision(scenes: CocoDataset) -> None:
    results = noisy_results(scenes)
    matches = [
        image_matches(
            scenes.images[image_id],
            scenes.annotations_as_rle(image_id),
            [result for result in results if result["image_id"] == image_id],
            "segm",
        )
        for image_id in scenes.image_ids
    ]
    whole = average_precision(scenes.content, results, scenes.image_ids, "segm")
    for name, area in (("AP", 0), ("APs", 1), ("APm", 2), ("APl", 3)):
        values = [
            precision_of_matches(matches, threshold, area, category_id)
            for threshold in range(10)
            for category_id in scenes.category_ids
        ]
        defined = [value for value in values if value is not None]
        assert whole[name] == (pytest.approx(np.mean(defined), abs=1e-9) if defined else None)
    json.dumps(matches)
    assert image_matches(scenes.images[scenes.image_ids[0]], [], [], "segm") == []


def test_the_annotation_of_id_zero_can_be_found(scorer: str, scenes: CocoDataset) -> None:
    """pycocotools takes a match with it for none."""
    content = json.loads(json.dumps(scenes.content))
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number
    results = [
        {key: annotation[key] for key in ("image_id", "category_id", "segmentation")}
        | {"score": 1.0}
        for annotation in content["annotations"]
    ]
    found = average_precision(content, results, scenes.image_ids, "segm", scorer)
    assert found["AP"] == pytest.approx(1.0, abs=1e-9)


def test_truth_scores_one_and_nothing_scores_zero(scorer: str, scenes: CocoDataset) -> None:
    results = [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "segmentation": there_and_back(scenes.rle(annotation)),
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
    same, one_off = Equivariance(), Equivariance()
    same.update([[rle, rle]] * 4)
    assert same.compute() == {"identical_masks": 1.0, "mean_iou": 1.0}
    one_off.update([[rle]] * 4)
    one_off.update([[rle], [rle], [different], [rle]])
    assert one_off.compute()["identical_masks"] == 0.5
    assert one_off.compute()["mean_iou"] == pytest.approx((5 + 11 / 12) / 6)
    assert Equivariance().compute() == {"identical_masks": None, "mean_iou": None}
    empty = encode_mask(np.zeros((6, 8)))
    assert rle_iou(empty, empty) == 1.0
    assert rle_iou(empty, rle) == 0.0


def test_unknown_scorers(scenes: CocoDataset) -> None:
    with pytest.raises(InputError, match="scorer is 'coco'; expected one of: pycocotools, faster"):
        average_precision(scenes.content, [], scenes.image_ids, "segm", "coco")
