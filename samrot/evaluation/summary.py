"""From the records of an evaluation to its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from samrot.data.coco import CocoDataset
from samrot.evaluation.intervals import KeptMatches
from samrot.evaluation.methods import find_method
from samrot.evaluation.prompts import GROUND_TRUTH_SOURCES
from samrot.evaluation.results import ResultsFile, coco_results
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.views import OrbitView, average_key, name_group
from samrot.files import replacing
from samrot.geometry.groups import C4, D4, GROUPS
from samrot.geometry.rle import RLE
from samrot.runtime.records import Record
from samrot.scoring import METRICS, Equivariance, average_precision, mean
from samrot.scoring.pose_statistics import angle_statistics, reliability, wilson_error
from samrot.structures.fingerprints import describe_known

KINDS = ("segm", "bbox")
_FILE_ENDS = {"segm": ".json", "bbox": "_boxes.json"}


def summarise(
    records: Iterable[Record],
    dataset: CocoDataset,
    image_ids: list[int],
    prompts: str,
    settings: EvaluateSettings,
    folder: Path,
    trained_on: dict[str, np.ndarray | None],
) -> dict[str, Any]:
    """Score a finished run and write its COCO-results files.

    Args:
        records: records by image id; read once, and none is kept.
        dataset: the dataset that was run.
        image_ids: ids of the photos that were run.
        prompts: where they came from.
        settings: settings of the run.
        folder: folder of the run.
        trained_on: model -> fingerprints of the photos that it was trained on, if it says so.

    Returns:
        The content of ``summary.json``; what is undefined is None.
    """
    views, kinds = settings.views(), _kinds(settings)
    seconds: dict[str, float] = {}
    fingerprints: list[Any] = []
    methods = {method: _MethodRecords(method, views) for method in settings.methods}
    kept = KeptMatches(settings.methods, views, kinds)
    paths = {
        (method, view.key, kind): folder / f"{method}_{view.file_key}{_FILE_ENDS[kind]}"
        for method in methods
        for view in views
        for kind in kinds
    }
    with ExitStack() as stack:
        files = {
            key: ResultsFile(stack.enter_context(_writing(path))) for key, path in paths.items()
        }
        for record in records:
            image_id = record["image_id"]
            fingerprints.append(record.get("fingerprint"))  # 0.1.0 had none
            kept.update(record)
            for stage, spent in record["seconds"].items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
            for method, collected in methods.items():
                by_view = record["methods"][method]
                collected.update(by_view, dataset.size_hw(image_id))
                for view in views:
                    results = coco_results(image_id, by_view[view.key], dataset)
                    for kind in kinds:
                        files[method, view.key, kind].write(results[kind])
        for file in files.values():
            file.close()
    scores = {
        key: average_precision(
            dataset.content, json.loads(path.read_text()), image_ids, key[2], settings.scorer
        )
        if key[2] != "segm" or dataset.has_masks
        else {**dict.fromkeys(METRICS), "AP_by_category": {}}
        for key, path in paths.items()
    }
    names = {category["id"]: category["name"] for category in dataset.content["categories"]}
    for score in scores.values():
        by_id = score.pop("AP_by_category")
        score["AP_by_category"] = {names[i]: ap for i, ap in by_id.items() if ap is not None}
    summary: dict[str, Any] = {
        "dataset": _describe(dataset, image_ids),
        "trained_on": {
            name: None if None in fingerprints else describe_known(fingerprints, known, name)
            for name, known in trained_on.items()
        },
        "prompts": prompts,
        "group": name_group(views),
        "tilt": settings.undone,
        "segmenter": settings.segmenter.name,
        "canonicalizer": settings.canonicalizer.name,
        "multimask": settings.segmenter.multimask,
        "refinement": settings.segmenter.refine,
        "score": settings.score,
        "methods": {
            method: collected.compute(
                {view.key: {k: scores.get((method, view.key, k)) for k in KINDS} for view in views}
            )
            for method, collected in methods.items()
        },
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }
    _add_retention(summary)
    for method, result in summary["methods"].items():
        for view, scored in result["angles"].items():
            scored["AP_per_image"] = kept.average_precision_per_image(method, view)
    if settings.bootstrap:
        summary["intervals"] = kept.intervals(settings.bootstrap)
    return summary


class _MethodRecords:
    """What is collected of the records of one method, one photo after the other."""

    def __init__(self, method: str, views: list[OrbitView]) -> None:
        self.method = find_method(method)
        self.views, self.group = views, name_group(views)
        self.ious: dict[str, list[float]] = {view.key: [] for view in views}
        self.equivariance = Equivariance()
        self.names_instances = True
        self.encoder_passes: list[float] = []
        self.poses: list[tuple[int, int]] = []  # true and estimated
        self.correct: list[bool] = []  # the pose
        self.confidence: list[float | None] = []  # of it
        self.errors_deg: list[float] = []  # of the whole angle

    def update(self, by_view: dict[str, Any], size_hw: tuple[int, int]) -> None:
        """Add a photo: view -> result."""
        results = [by_view[view.key] for view in self.views]
        for view, result in zip(self.views, results, strict=True):
            self.ious[view.key] += result.get("ious", [])
            self.encoder_passes.append(result.get("encoder_passes", 1))
            if self.method.estimates:
                element, tilt_deg = result["pose"], result.get("tilt_deg", 0.0)  # 0.1.0 had none
                self.poses.append((view.pose.element, element))
                self.correct.append(view.is_nearest(element))
                self.confidence.append(result.get("pose_confidence"))  # not before 0.2.0
                self.errors_deg.append(view.error_deg(element, tilt_deg))
        self.names_instances &= results[0]["instance_ids"] is not None
        if self.names_instances and len(self.views) > 1:
            self.equivariance.update(
                [
                    [RLE(size=list(size_hw), counts=counts) for counts in result["masks"]]
                    for result in results
                ],
                [view.pose.tilt_deg for view in self.views],
            )

    def compute(self, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The summary of the method; ``scores`` has view -> kind -> average precision."""
        by_view = {
            view.key: {
                **scores[view.key]["segm"],
                "mIoU": mean(self.ious[view.key]),
                "bbox": scores[view.key]["bbox"],
            }
            for view in self.views
        }
        result: dict[str, Any] = {
            "angles": by_view,
            **_averages(by_view, self.group),
            "encoder_passes": mean(self.encoder_passes),
        }
        equivariance = self.equivariance if self.names_instances else Equivariance()
        result["equivariance"] = equivariance.compute()
        if self.method.estimates:
            # An estimate in C4 cannot say of a mirrored photo that it is.
            order = max(C4.order, 1 + max((max(pair) for pair in self.poses), default=0))
            confusion = np.zeros((D4.order if order > C4.order else C4.order,) * 2, dtype=int)
            for true, estimated in self.poses:
                confusion[true, estimated] += 1
            result["pose_accuracy"] = mean(self.correct)
            # The views of a photo do not count: by the law they are right or wrong together.
            result["pose_standard_error"] = wilson_error(
                result["pose_accuracy"], len(self.poses) // len(self.views)
            )
            result["pose_confusion"] = confusion.tolist()
            if None not in self.confidence:
                curve = reliability(np.array(self.confidence, float), np.array(self.correct, bool))
                result["reliability"] = curve.as_json()
            result["angle_error_deg"] = angle_statistics(np.array(self.errors_deg))
        return result


def _kinds(settings: EvaluateSettings) -> tuple[str, ...]:
    """What is scored: masks, and boxes where they are not those of the ground truth."""
    return KINDS[:1] if settings.prompts.source in GROUND_TRUTH_SOURCES else KINDS


@contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    with replacing(path) as partial, partial.open("w") as file:
        yield file


def _averages(by_view: dict[str, dict[str, Any]], group: str) -> dict[str, Any]:
    """Means over the four turns, and over the group of the views, with the worst of them."""
    views = {name: GROUPS[name].names if name in GROUPS else by_view for name in (C4.name, group)}
    return {
        average_key(name): _average([by_view.get(key, {}) for key in keys])
        for name, keys in views.items()
    }


def _average(views: list[dict[str, Any]]) -> dict[str, float | None]:
    """Means and minima; None where a view was not run."""
    values = {
        "AP": [scores.get("AP") for scores in views],
        "mIoU": [scores.get("mIoU") for scores in views],
        "bbox_AP": [(scores.get("bbox") or {}).get("AP") for scores in views],
    }
    worst: dict[str, float | None] = {}
    for name, every in values.items():
        defined = [value for value in every if value is not None]
        worst[f"worst_{name}"] = min(defined) if len(defined) == len(every) > 0 else None
    return {**{name: mean(every) for name, every in values.items()}, **worst}


def _add_retention(summary: dict[str, Any]) -> None:
    """Each method's mean over the views, as a share of the plain model on upright photos."""
    plain = summary["methods"].get("none", {}).get("angles", {}).get("0") or {}
    for result in summary["methods"].values():
        average = _average([*result["angles"].values()])
        result["retention"] = _ratio(average["AP"], plain.get("AP"))
        upright_box_ap = (plain.get("bbox") or {}).get("AP")
        result["bbox_retention"] = _ratio(average["bbox_AP"], upright_box_ap)


def _describe(dataset: CocoDataset, image_ids: list[int]) -> dict[str, int]:
    annotations = [a for i in image_ids for a in dataset.annotations_by_image[i]]
    crowds = sum(bool(annotation.get("iscrowd", 0)) for annotation in annotations)
    prompted = sum(len(dataset.instances(image_id)) for image_id in image_ids)
    return {
        "images": len(image_ids),
        "images_in_dataset": len(dataset.image_ids),
        "instances": len(annotations) - crowds,
        "crowds": crowds,
        "zero_area": len(annotations) - crowds - prompted,
    }


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
