"""The evaluation engine, end to end on small datasets."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.cli import main
from samrot.data.coco import CocoDataset, DataSettings
from samrot.errors import InputError
from samrot.evaluation.prompts import PromptSettings
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.tasks.segmentation import SegmentationTask
from samrot.geometry import exact
from samrot.geometry.plane import xywh_to_xyxy
from samrot.models import load_detector
from samrot.segmenters import SEGMENTERS, Encoding, Prompts, Segmentation, SegmenterSettings
from tests.conftest import ThresholdSegmenter, small_d4, write_coco

ALL = ["none", "canonical", "oracle"]
ANGLES = ("0", "90", "180", "270")


class ColourSegmenter(ThresholdSegmenter):
    """Returns the ground truth: every instance of ``coloured`` has a colour of its own."""

    name = "colour"

    def encode(self, image: np.ndarray) -> Encoding:
        return Encoding((image.shape[0], image.shape[1]), image[..., 0])

    def decode(self, encoding: Encoding, prompts: Prompts, **_: Any) -> Segmentation:
        colours = [c for c in np.unique(encoding.features) if c]
        masks = np.stack([encoding.features == c for c in colours])
        bounds = []
        for mask in masks:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            bounds.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert prompts.boxes_xyxy is not None
        distance = np.abs(prompts.boxes_xyxy[:, None] - np.array(bounds)[None]).sum(-1)
        chosen = torch.from_numpy(masks[distance.argmin(1)])[:, None]
        return Segmentation(chosen, torch.ones(len(chosen), 1), chosen.float())


@pytest.fixture(autouse=True)
def segmenters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENTERS, "threshold", lambda checkpoint, device: ThresholdSegmenter())
    monkeypatch.setitem(SEGMENTERS, "colour", lambda checkpoint, device: ColourSegmenter())


@pytest.fixture
def coloured(tmp_path: Path) -> tuple[Path, Path]:
    """Three photos of triangles, one colour each; also a zero-area annotation and a crowd."""
    images, records, annotations = {}, [], []
    for image_id, (height, width) in enumerate([(60, 90), (91, 60), (64, 64)], start=1):
        photo = np.zeros((height, width, 3), dtype=np.uint8)
        for place in range(4):
            size = 12 + 3 * place
            y0, x0 = (place // 2) * 30 + 1, (place % 2) * 30 + 2
            mask = np.zeros((height, width), dtype=bool)
            mask[y0 : y0 + size, x0 : x0 + size] = np.tri(size, dtype=bool)
            mask[y0 : y0 + size] &= (np.arange(height) < y0 + size)[y0 : y0 + size, None]
            photo[mask, 0] = 40 * (place + 1)
            ys, xs = np.nonzero(photo[..., 0] == 40 * (place + 1))
            box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
            annotations.append(annotation(len(annotations) + 1, image_id, 1 + place % 2, box, mask))
        photo[:3, -3:, 1] = 250  # a corner mark, so that the photo is not symmetric
        images[f"{image_id}.png"] = photo
        records.append(
            {"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width}
        )
    nothing = np.zeros((60, 90), dtype=bool)
    annotations.append(annotation(90, 1, 1, [5, 5, 0, 0], nothing))
    crowd = annotation(91, 1, 1, [0, 0, 90, 60], ~nothing)
    annotations.append({**crowd, "iscrowd": 1})
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    content = {"images": records, "annotations": annotations, "categories": categories}
    return write_coco(tmp_path / "coloured", content, images)


def annotation(
    id_: int, image_id: int, category_id: int, bbox: list[int], mask: np.ndarray
) -> dict[str, Any]:
    from samrot.geometry.rle import encode_mask

    return {
        "id": id_, "image_id": image_id, "category_id": category_id, "bbox": bbox, "iscrowd": 0,
        "area": int(mask.sum()), "segmentation": encode_mask(mask),
    }  # fmt: skip


def settings(
    data: tuple[Path, Path], out: Path, segmenter: str, **changes: Any
) -> EvaluateSettings:
    return EvaluateSettings(
        data=DataSettings(images=str(data[0]), annotations=str(data[1])),
        out=str(out),
        segmenter=SegmenterSettings(name=segmenter),
        **changes,
    )


def test_truth_scores_one_at_every_angle(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    summary = evaluate(settings(coloured, tmp_path / "run", "colour", methods=ALL))
    assert summary["dataset"] == {
        "images": 3, "images_in_dataset": 3, "instances": 13, "crowds": 1, "zero_area": 1,
    }  # fmt: skip
    assert summary["prompts"] == "ground-truth boxes"
    for method in ALL:
        result = summary["methods"][method]
        for angle in ANGLES:
            scores = result["angles"][angle]
            assert scores["mIoU"] == 1.0
            assert scores["AP"] is not None
            assert scores["bbox"] is None
        assert result["equivariance"] == {"identical_masks": 1.0, "mean_iou": 1.0}
        # The annotation of zero area is never found, as in COCO.
        assert result["c4_avg"]["AP"] == result["angles"]["0"]["AP"] > 0.9
        assert result["retention"] == 1.0


def test_truth_scores_exactly_one_without_the_unfindable(
    coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    content = json.loads(coloured[1].read_text())
    content["annotations"] = [a for a in content["annotations"] if a["area"] > 0]
    coloured[1].write_text(json.dumps(content))
    summary = evaluate(settings(coloured, tmp_path / "run", "colour", methods=ALL))
    for method in ALL:
        for angle in ANGLES:
            ap = summary["methods"][method]["angles"][angle]["AP"]
            assert ap == pytest.approx(1.0, abs=1e-9)


@pytest.mark.slow
def test_canonicalization_restores_equivariance(
    scenes_folder: Path, scenes: CocoDataset, tmp_path: Path
) -> None:
    data = (scenes_folder / "images", scenes_folder / "annotations.json")
    summary = evaluate(settings(data, tmp_path / "run", "threshold", methods=ALL))
    plain, canonical = summary["methods"]["none"], summary["methods"]["canonical"]
    assert plain["equivariance"]["identical_masks"] < 0.1
    assert canonical["equivariance"] == {"identical_masks": 1.0, "mean_iou": 1.0}
    for key in ("AP", "mIoU"):
        values = [canonical["angles"][angle][key] for angle in ANGLES]
        assert max(values) - min(values) < 1e-12
        assert canonical["c4_avg"][key] == pytest.approx(values[0], abs=1e-12)
    assert len(canonical["pose_confusion"]) == 4
    assert [sum(row) for row in canonical["pose_confusion"]] == [6] * 4
    # By the roll law every row of the confusion matrix is the first one, rolled.
    first = canonical["pose_confusion"][0]
    assert canonical["pose_confusion"] == [first[-k:] + first[:-k] for k in range(4)]
    assert canonical["pose_accuracy"] == first[0] / 6
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "environment.json", "summary.json", "summary.md"} <= files
    assert {f"{m}_{a:03d}.json" for m in ALL for a in (0, 90, 180, 270)} <= files
    results = json.loads((tmp_path / "run" / "canonical_090.json").read_text())
    assert "bbox" not in results[0]
    assert results[0]["segmentation"]["size"] == list(scenes.size_hw(results[0]["image_id"]))


def test_oracle_is_upright_at_every_angle(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    summary = evaluate(
        settings(coloured, tmp_path / "run", "threshold", methods=["none", "oracle"])
    )
    upright = summary["methods"]["none"]["angles"]["0"]
    for angle in ANGLES:
        assert summary["methods"]["oracle"]["angles"][angle]["mIoU"] == upright["mIoU"]


def test_undefined_is_null(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    summary = evaluate(
        settings(coloured, tmp_path / "run", "colour", methods=["canonical"], angles=[90], limit=1)
    )
    result = summary["methods"]["canonical"]
    assert result["c4_avg"].keys() >= {"AP", "mIoU", "bbox_AP", "worst_AP"}
    assert set(result["c4_avg"].values()) == {None}
    assert result["retention"] is None
    assert result["equivariance"]["identical_masks"] is None
    assert summary["dataset"]["images"] == 1


def test_a_limit_may_grow(
    coloured: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photos are a sample, which a larger one holds; what was run is kept."""
    wanted = {"methods": ["none"], "angles": [0]}
    run, read = tmp_path / "run", []
    original = CocoDataset.read

    def watched(dataset: CocoDataset, image_id: int) -> np.ndarray:
        read.append(image_id)
        return original(dataset, image_id)

    monkeypatch.setattr(CocoDataset, "read", watched)
    evaluate(settings(coloured, run, "colour", limit=1, **wanted))
    assert len(read) == 1
    with pytest.raises(InputError, match=r"other settings \(angles\)"):
        evaluate(settings(coloured, run, "colour", methods=["none"], angles=[90], limit=1))
    with pytest.raises(InputError, match=r"other settings \(angles, limit\)"):
        evaluate(settings(coloured, run, "colour", methods=["none"], angles=[90], limit=2))
    grown = evaluate(settings(coloured, run, "colour", limit=2, **wanted))
    assert len(read) == len(set(read)) == 2
    at_once = evaluate(settings(coloured, tmp_path / "other", "colour", limit=2, **wanted))
    assert grown["methods"] == at_once["methods"]
    evaluate(settings(coloured, run, "colour", **wanted))  # all of them
    with pytest.raises(InputError, match=r"\(limit\); limit, which was all, may only grow; choose"):
        evaluate(settings(coloured, run, "colour", limit=2, **wanted))


def test_boxes_alone_are_prompted_and_scored(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    file = detections(coloured, tmp_path, 0, good=True)
    content = json.loads(coloured[1].read_text())
    for record in content["annotations"]:
        del record["segmentation"]
    coloured[1].write_text(json.dumps(content))
    prompts = PromptSettings(source="detections", file=file)
    for name, source in (("gt", PromptSettings()), ("detections", prompts)):
        with pytest.warns(UserWarning, match="boxes are prompted and scored, masks are not"):
            summary = evaluate(
                settings(coloured, tmp_path / name, "colour", methods=["none"], prompts=source)
            )
        scores = summary["methods"]["none"]["angles"]["90"]
        assert scores["AP"] is scores["mIoU"] is None
        if name == "gt":
            assert scores["bbox"] is None
        else:  # the annotation of zero area is never found
            assert scores["bbox"]["AP"] > 0.9
        assert summary["methods"]["none"]["equivariance"]["identical_masks"] == 1.0


def detections(coloured: tuple[Path, Path], folder: Path, turns: int, *, good: bool) -> str:
    """A detections file for the turned photos: the true boxes, or useless ones."""
    dataset = CocoDataset.load(*coloured)
    records = []
    for image_id in dataset.image_ids:
        for instance in dataset.instances(image_id):
            box = xywh_to_xyxy([instance["bbox"]])
            turned = exact.move_boxes(box, turns, dataset.size_hw(image_id))[0]
            x0, y0, x1, y1 = turned if good else turned + 12
            records.append(
                {
                    "image_id": image_id,
                    "category_id": instance["category_id"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": 0.5 + instance["id"] / 100,
                }
            )
    path = folder / f"det_{turns}_{good}.json"
    path.write_text(json.dumps(records))
    return str(path)


def test_detections_on_each_turn(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    """A detector that works on upright photos only: its boxes come back under the oracle."""
    files = {a: detections(coloured, tmp_path, a // 90, good=a == 0) for a in (0, 90, 180, 270)}
    prompts = PromptSettings(source="detections", file=files)
    summary = evaluate(
        settings(coloured, tmp_path / "run", "colour", methods=["none", "oracle"], prompts=prompts)
    )
    plain, oracle = summary["methods"]["none"], summary["methods"]["oracle"]
    assert plain["angles"]["0"]["bbox"]["AP"] > 0.9
    for angle in ANGLES[1:]:
        assert plain["angles"][angle]["bbox"]["AP"] < 0.1
    for angle in ANGLES:
        assert oracle["angles"][angle]["bbox"] == plain["angles"]["0"]["bbox"]
        assert oracle["angles"][angle]["AP"] == plain["angles"]["0"]["AP"]
        assert oracle["angles"][angle]["mIoU"] is None
    assert oracle["bbox_retention"] == pytest.approx(1.0)
    assert oracle["equivariance"]["identical_masks"] is None
    boxes = json.loads((tmp_path / "run" / "oracle_090_boxes.json").read_text())
    truth = json.loads(Path(files[0]).read_text())
    by_score = {(r["image_id"], r["score"]): r["bbox"] for r in truth}
    for record in boxes:
        assert record["bbox"] == pytest.approx(by_score[record["image_id"], record["score"]])


def test_detections_turned_along(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    upright = detections(coloured, tmp_path, 0, good=True)
    prompts = PromptSettings(source="detections", file=upright)
    summary = evaluate(settings(coloured, tmp_path / "run", "threshold", prompts=prompts))
    plain, canonical = summary["methods"]["none"], summary["methods"]["canonical"]
    for angle in ANGLES:
        assert plain["angles"][angle]["bbox"]["AP"] > 0.9
    assert canonical["equivariance"]["identical_masks"] == 1.0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_boxes(tmp_path: Path) -> None:
    """600 masks of the photo would take 72 MB, and their logits four times as much."""
    photo = np.zeros((300, 400, 3), dtype=np.uint8)
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 300, "width": 400}],
        "annotations": [], "categories": [{"id": 1, "name": "one"}],
    }  # fmt: skip
    data = write_coco(tmp_path / "data", content, {"1.png": photo})
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [n % 300, 5, 90, 90], "score": 1}
             for n in range(600)]  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    prompts = PromptSettings(
        source="detections", file=str(tmp_path / "boxes.json"), max_per_image=600
    )
    wanted = settings(
        data, tmp_path / "run", "threshold", methods=["none", "oracle"], angles=[90],
        prompts=prompts,
    )  # fmt: skip
    tracemalloc.start()
    try:
        evaluate(wanted)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    record = json.loads((tmp_path / "run" / "records.jsonl").read_text())
    assert len(record["methods"]["oracle"]["90"]["masks"]) == 600


def corner_detector(image: np.ndarray) -> samrot.Detections:
    """Boxes where the corner mark is in the top right: the photo as it was."""
    upright = bool((image[:3, -3:, 1] == 250).all())
    box = np.array([[2.0, 1.0, 14.0, 13.0]])
    return samrot.Detections(box[: int(upright)], np.ones(int(upright)), np.ones(int(upright)))


def test_live_detector_sees_what_the_method_sees(
    coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    prompts = PromptSettings(source="detector", detector=f"{__name__}:corner_detector")
    summary = evaluate(
        settings(coloured, tmp_path / "run", "colour", methods=["none", "oracle"], prompts=prompts)
    )
    plain, oracle = summary["methods"]["none"], summary["methods"]["oracle"]
    assert plain["angles"]["0"]["bbox"]["AP"] > 0.1
    assert plain["angles"]["90"]["bbox"]["AP"] == 0.0
    assert oracle["angles"]["90"]["bbox"] == plain["angles"]["0"]["bbox"]


def triangle_detector(image: np.ndarray) -> samrot.Detections:
    """Boxes and masks of the coloured triangles, on the photo as it was."""
    if not (image[:3, -3:, 1] == 250).all():
        return samrot.Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    colours = [c for c in np.unique(image[..., 0]) if c]
    masks = np.stack([image[..., 0] == c for c in colours])
    corners = [np.argwhere(mask) for mask in masks]
    boxes = [[*found.min(0)[::-1], *(found.max(0)[::-1] + 1)] for found in corners]
    categories = np.array([1 + i % 2 for i in range(len(colours))])
    return samrot.Detections(np.array(boxes), np.ones(len(boxes)), categories, masks)


def test_a_detector_that_segments_is_scored_by_its_own_masks(
    coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    prompts = PromptSettings(source="detector", detector=f"{__name__}:triangle_detector")
    summary = evaluate(
        settings(
            coloured, tmp_path / "run", "detector", methods=["none", "oracle"], prompts=prompts
        )
    )
    plain, oracle = summary["methods"]["none"], summary["methods"]["oracle"]
    found = plain["angles"]["0"]
    assert found["APs"] > 0.92  # all but the annotation without area
    assert found["bbox"]["AP"] > 0.92
    assert plain["angles"]["90"]["AP"] == 0.0
    for angle in ANGLES:
        assert oracle["angles"][angle] == found
    with pytest.raises(InputError, match="segmenter.name is detector, but prompts.source 'gt'"):
        settings(coloured, tmp_path / "gt", "detector")
    with pytest.raises(InputError, match="takes no other segmenter setting"):
        settings(coloured, tmp_path / "score", "detector", prompts=prompts, score="segmenter")
    boxes = PromptSettings(source="detector", detector=f"{__name__}:corner_detector")
    with pytest.raises(InputError, match="the detector returned no masks"):
        evaluate(settings(coloured, tmp_path / "boxes", "detector", prompts=boxes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "detections"}, r"prompts\.file is not set"),
        ({"source": "detector"}, r"prompts\.detector is not set"),
        ({"file": "x.json"}, r"prompts\.file is given, but prompts\.source is 'gt'"),
        ({"detector": "a:b"}, r"prompts\.detector is given, but prompts\.source is 'gt'"),
        ({"source": "detections", "file": {0: "a"}}, r"names angles \[0\]; expected 0, 90, 180"),
        ({"source": "detector", "detector": "no_such:thing"}, "cannot be imported"),
        ({"source": "detector", "detector": "json:decoder"}, "is not callable"),
    ],
)
def test_bad_prompt_settings(
    changes: dict[str, Any], message: str, coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(settings(coloured, tmp_path / "run", "colour", prompts=PromptSettings(**changes)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"a": 1}, "is not a list"),
        ([{"image_id": 1}], "entry 0 lacks 'category_id'"),
        (
            [{"image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
            "of image 77, which .* does not list",
        ),
        (
            [{"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 1}],
            "entry 0 has category 9, which .* does not list",
        ),
        (
            [{"image_id": 1, "category_id": "1", "bbox": [0, 0, 1, 1], "score": 1}],
            "entry 0 has category '1', which .* does not list",
        ),
        (
            [{"image_id": [1], "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
            r"entry 0 is of image \[1\], which",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1}],
            r"entry 0 has the box \[0, 0, 1\]; expected x, y, width and height",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [900, 0, 1, 1], "score": 1}],
            "entry 0 has the box .* which lies beside its image of 60x90",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, -1], "score": 1}],
            "entry 0 has the box .* whose size is negative",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": "high"}],
            "entry 0 has the score 'high'; expected a finite number",
        ),
    ],
)
def test_bad_detections(
    records: object, message: str, coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps(records))
    prompts = PromptSettings(source="detections", file=str(path))
    with pytest.raises(InputError, match=message):
        evaluate(settings(coloured, tmp_path / "run", "colour", prompts=prompts))


def test_settings_are_checked(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    for changes, message in (
        ({"methods": ["magic"]}, "methods entry is 'magic'"),
        ({"methods": []}, "at least one"),
        (
            {"angles": [360]},
            "angles entry is 360; expected a number of at least 0 and at most 359.99",
        ),
        ({"angles": [0, 0]}, "expected each once"),
        ({"limit": 0}, "limit is 0"),
        ({"images_per_batch": 0}, "images_per_batch is 0"),
        ({"score": "best"}, "score is 'best'"),
    ):
        with pytest.raises(InputError, match=message):
            settings(coloured, tmp_path / "run", "colour", **changes)
    with pytest.raises(InputError, match="the detector"):
        load_detector(f"{__name__}:not_a_detector", "cpu")(np.zeros((2, 2, 3), np.uint8)) and None


def not_a_detector(image: np.ndarray) -> list[int]:
    raise InputError("the detector is not one")


@pytest.mark.slow
def test_a_damaged_photo_stops_the_run_and_loses_nothing(
    coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    third = coloured[0] / "3.png"
    whole = third.read_bytes()
    third.write_bytes(whole[:60])
    wanted = settings(coloured, tmp_path / "run", "colour")
    with pytest.raises(InputError, match=r"3\.png cannot be decoded"):
        evaluate(wanted)
    assert not (tmp_path / "run" / "summary.json").exists()
    photos = tmp_path / "run" / "records.jsonl"
    finished = photos.read_text()
    assert finished.count("\n") == 2
    photos.write_text(finished + '{"image_id": 3, "meth')  # what a kill leaves behind
    third.write_bytes(whole)
    summary = evaluate(wanted)
    assert photos.read_text().startswith(finished)
    fresh = evaluate(settings(coloured, tmp_path / "fresh", "colour"))
    assert without_seconds(summary) == without_seconds(fresh)
    third.unlink()
    with pytest.raises(InputError, match=r"3\.png does not exist"):
        evaluate(settings(coloured, tmp_path / "third", "colour"))
    assert not (tmp_path / "third").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("images_per_batch", "overlap"), [(1, True), (2, False), (2, True)])
def test_stages_in_turn_or_at_once_find_the_same(
    images_per_batch: int, overlap: bool, coloured: tuple[Path, Path], tmp_path: Path
) -> None:
    def records(images_per_batch: int, *, overlap: bool) -> list[dict[str, Any]]:
        wanted = settings(
            coloured, tmp_path / "run", "colour", methods=ALL, images_per_batch=images_per_batch
        )
        dataset = CocoDataset.load(*coloured)
        task = SegmentationTask(wanted, dataset, "cpu", overlap=overlap)
        found: list[dict[str, Any]] = []
        try:
            task.run(dataset.image_ids, found.append)
        except InputError as error:
            assert "3.png cannot be decoded" in str(error)
        return [without_seconds(record) for record in found]

    expected = records(1, overlap=False)
    assert len(expected) == 3
    assert records(images_per_batch, overlap=overlap) == expected
    third = coloured[0] / "3.png"
    third.write_bytes(third.read_bytes()[:60])
    assert records(1, overlap=overlap) == expected[:2]


@pytest.mark.parametrize("overlap", [False, True])
def test_photos_are_let_go(
    overlap: bool, coloured: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the garbage collector finds them, which may be thousands of photos later."""
    read = CocoDataset.read
    photos: list[weakref.ref[np.ndarray]] = []

    def watched(dataset: CocoDataset, image_id: int) -> np.ndarray:
        image = read(dataset, image_id)
        photos.append(weakref.ref(image))
        return image

    monkeypatch.setattr(CocoDataset, "read", watched)
    dataset = CocoDataset.load(*coloured)
    wanted = settings(coloured, tmp_path / "run", "colour", methods=ALL)
    task = SegmentationTask(wanted, dataset, "cpu", overlap=overlap)
    gc.collect()
    gc.disable()
    try:
        task.run(dataset.image_ids, lambda record: None)
        assert len(photos) == 3
        assert [photo() for photo in photos] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_run_folder_belongs_to_its_settings(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = evaluate(settings(coloured, out, "colour"))
    assert evaluate(settings(coloured, out, "colour")) == first
    with pytest.raises(InputError, match=r"holds a run with other settings \(angles\)"):
        evaluate(settings(coloured, out, "colour", angles=[0]))
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").touch()
    with pytest.raises(InputError, match="holds no samrot run; choose a new or empty folder"):
        evaluate(settings(coloured, other, "colour"))
    assert [p.name for p in other.iterdir()] == ["precious.txt"]


def without_seconds(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "seconds"}


@pytest.mark.slow
def test_kill_dash_nine_loses_nothing(scenes_folder: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        return [
            "evaluate", "--data.images", str(scenes_folder / "images"),
            "--data.annotations", str(scenes_folder / "annotations.json"), "--out", str(out),
            "--angles", "[90]", "--limit", "3",
        ]  # fmt: skip

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "samrot", *command(killed)], stderr=subprocess.DEVNULL
    )
    photos = killed / "records.jsonl"
    deadline = time.monotonic() + 120
    while not (photos.exists() and photos.read_text().count("\n") >= 1):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "summary.json").exists()
    for out in (killed, tmp_path / "whole"):
        assert main(command(out)) == 0
    summaries = [
        json.loads((folder / "summary.json").read_text()) for folder in (killed, tmp_path / "whole")
    ]
    assert without_seconds(summaries[0]) == without_seconds(summaries[1])
    results = [(f / "canonical_090.json").read_bytes() for f in (killed, tmp_path / "whole")]
    assert results[0] == results[1]


class CountingSegmenter(ThresholdSegmenter):
    """Counts what is asked of it."""

    num_images = num_boxes = 0

    def encode(self, image: np.ndarray) -> Encoding:
        self.num_images += 1
        return super().encode(image)

    def decode(self, encoding: Encoding, prompts: Prompts, **options: Any) -> Segmentation:
        self.num_boxes += len(prompts)
        return super().decode(encoding, prompts, **options)


def two_boxes(image: np.ndarray) -> samrot.Detections:
    """Boxes that depend on what the detector sees."""
    height, width, _ = image.shape
    boxes = np.array([[1.3, 2.7, 30.1, 31.9], [2.5, 4.1, width / 2 + 1 / 3, height / 2 + 1 / 7]])
    return samrot.Detections(boxes, np.array([0.9, 0.8]), np.ones(2, dtype=int))


@pytest.mark.parametrize(
    ("methods", "angles"), [(["none", "oracle"], [0]), (["canonical"], [0, 90, 180, 270])]
)
def test_boxes_of_a_detector_are_decoded_once(
    methods: list[str],
    angles: list[int],
    coloured: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where views lie alike in the canonical frame, a model is asked once."""
    segmenter = CountingSegmenter()
    monkeypatch.setitem(SEGMENTERS, "counting", lambda checkpoint, device: segmenter)
    monkeypatch.setattr("samrot.canonicalizers.CanonicalizerChoice.load", lambda *_: small_d4())
    prompts = PromptSettings(source="detector", detector=f"{__name__}:two_boxes")
    summary = evaluate(
        settings(coloured, tmp_path / "run", "counting", methods=methods, angles=angles,
                 prompts=prompts)
    )  # fmt: skip
    assert set(summary["methods"]) == set(methods)
    photos = summary["dataset"]["images"]
    assert segmenter.num_images == photos
    assert segmenter.num_boxes == 2 * photos
