"""From the records of an evaluation to its numbers and its table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from samrot.data.coco import CocoDataset
from samrot.engines.photo_runner import STAGES
from samrot.engines.run_folder import RunFolder
from samrot.geometry.actions import RLE
from samrot.geometry.groups import C4
from samrot.scoring import average_precision, equivariance, mean

if TYPE_CHECKING:
    from samrot.engines.evaluate import EvaluateSettings


Records = Callable[[], Iterator[dict[str, Any]]]


def summarise(
    read_records: Records,
    dataset: CocoDataset,
    image_ids: list[int],
    prompts: str,
    settings: EvaluateSettings,
    run: RunFolder,
) -> dict[str, Any]:
    """Score a finished run and write its COCO-results files.

    Args:
        read_records: reads the photos' records from disk, one at a time and from the start at each
            call: what is not needed for the number at hand is never kept.
        dataset: that was run.
        image_ids: of the photos that were run.
        prompts: where they came from.
        settings: of the run.
        run: where it is written.

    Returns:
        The content of ``summary.json``; what is undefined is None.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    for record in read_records():
        for stage in seconds:
            seconds[stage] += record["seconds"][stage]
    summary: dict[str, Any] = {
        "dataset": _describe(dataset, image_ids),
        "prompts": prompts,
        "segmenter": settings.segmenter.name,
        "canonicalizer": settings.canonicalizer.name,
        "multimask": settings.segmenter.multimask,
        "refinement": settings.segmenter.refine,
        "score": settings.score,
        "methods": {
            method: _summarise_method(method, read_records, dataset, image_ids, settings, run)
            for method in settings.methods
        },
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }
    plain = summary["methods"].get("none", {}).get("angles", {}).get("0") or {}
    for result in summary["methods"].values():
        result["retention"] = _ratio(result["c4_avg"]["AP"], plain.get("AP"))
        upright_box_ap = (plain.get("bbox") or {}).get("AP")
        result["bbox_retention"] = _ratio(result["c4_avg"]["bbox_AP"], upright_box_ap)
    return summary


def _describe(dataset: CocoDataset, image_ids: list[int]) -> dict[str, int]:
    annotations = [a for i in image_ids for a in dataset.annotations_by_image[i]]
    crowds = sum(bool(annotation.get("iscrowd", 0)) for annotation in annotations)
    prompted = sum(len(dataset.instances(image_id)) for image_id in image_ids)
    return {
        "images": len(image_ids),
        "instances": len(annotations) - crowds,
        "crowds": crowds,
        "zero_area": len(annotations) - crowds - prompted,
    }


def _summarise_method(
    method: str,
    read_records: Records,
    dataset: CocoDataset,
    image_ids: list[int],
    settings: EvaluateSettings,
    run: RunFolder,
) -> dict[str, Any]:
    angles: dict[str, dict[str, Any]] = {}
    for angle in settings.angles:
        found = [
            (record["image_id"], record["methods"][method][str(angle)]) for record in read_records()
        ]
        # Instances are in annotation order: AP depends on the order where scores tie.
        found.sort(key=lambda pair: pair[0])
        angles[str(angle)] = _score_angle(
            f"{method}_{angle:03d}", found, dataset, image_ids, run, settings.scorer
        )
    every = [angles.get(str(angle), {}) for angle in (0, 90, 180, 270)]
    result: dict[str, Any] = {
        "angles": angles,
        "c4_avg": {
            "AP": mean([scores.get("AP") for scores in every]),
            "mIoU": mean([scores.get("mIoU") for scores in every]),
            "bbox_AP": mean([(scores.get("bbox") or {}).get("AP") for scores in every]),
        },
        "equivariance": _equivariance(method, read_records, dataset, settings),
    }
    if method == "canonical":
        confusion = [[0] * C4.order for _ in range(C4.order)]
        for record in read_records():
            for angle, found_at in record["methods"][method].items():
                confusion[int(angle) // 90][found_at["pose"]] += 1
        correct = sum(confusion[k][k] for k in range(C4.order))
        result["pose_accuracy"] = _ratio(correct, sum(map(sum, confusion)))
        result["pose_confusion"] = confusion
    return result


def coco_results(
    found: Iterable[tuple[int, dict[str, Any]]], dataset: CocoDataset
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Masks and boxes as COCO results; no boxes where they are the ground truth's.

    Args:
        found: image id, and what was found at one angle by one method.
        dataset: of the images.
    """
    masks, boxes = [], []
    for image_id, turn in found:
        for place, counts in enumerate(turn["masks"]):
            shared = {"image_id": image_id, "category_id": turn["category_ids"][place]}
            rle = RLE(size=list(dataset.size_hw(image_id)), counts=counts)
            masks.append({**shared, "segmentation": rle, "score": turn["scores"][place]})
            if "boxes_xywh" in turn:
                bbox, score = turn["boxes_xywh"][place], turn["box_scores"][place]
                boxes.append({**shared, "bbox": bbox, "score": score})
    return masks, boxes


def _score_angle(
    name: str,
    found: list[tuple[int, dict[str, Any]]],
    dataset: CocoDataset,
    image_ids: list[int],
    run: RunFolder,
    scorer: str,
) -> dict[str, Any]:
    masks, boxes = coco_results(found, dataset)
    run.write_json(f"{name}.json", masks)
    scores: dict[str, Any] = {
        **average_precision(dataset.content, masks, image_ids, "segm", scorer)
    }
    by_truth = all("ious" in turn for _, turn in found)
    scores["mIoU"] = mean([iou for _, turn in found for iou in turn["ious"]]) if by_truth else None
    scores["bbox"] = None
    if not by_truth:
        run.write_json(f"{name}_boxes.json", boxes)
        scores["bbox"] = average_precision(dataset.content, boxes, image_ids, "bbox", scorer)
    return scores


def _equivariance(
    method: str, read_records: Records, dataset: CocoDataset, settings: EvaluateSettings
) -> dict[str, float | None]:
    unknown: dict[str, float | None] = {"identical_masks": None, "mean_iou": None}
    if set(settings.angles) != {0, 90, 180, 270}:
        return unknown
    by_angle: list[list[RLE]] = [[], [], [], []]
    for record in read_records():
        size = list(dataset.size_hw(record["image_id"]))
        turns = [record["methods"][method][str(angle)] for angle in (0, 90, 180, 270)]
        if turns[0]["instance_ids"] is None:
            return unknown
        for masks, turn in zip(by_angle, turns, strict=True):
            masks += [RLE(size=size, counts=counts) for counts in turn["masks"]]
    return equivariance(by_angle)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def summary_table(summary: dict[str, Any]) -> str:
    """The numbers as a markdown table."""
    dataset = summary["dataset"]
    lines = [
        f"{summary['segmenter']} on {dataset['images']} photos, {dataset['instances']} instances; "
        f"prompts: {summary['prompts']}; canonicalizer: {summary['canonicalizer']}",
        "",
        "| method | quantity | 0 | 90 | 180 | 270 | C4 average | retention |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, result in summary["methods"].items():
        every = [result["angles"].get(str(angle), {}) for angle in (0, 90, 180, 270)]
        rows: list[tuple[str, list[Any], Any, Any]] = [
            ("segm AP", [s.get("AP") for s in every], result["c4_avg"]["AP"], result["retention"]),
            ("mIoU", [s.get("mIoU") for s in every], result["c4_avg"]["mIoU"], None),
            (
                "box AP",
                [(s.get("bbox") or {}).get("AP") for s in every],
                result["c4_avg"]["bbox_AP"],
                result["bbox_retention"],
            ),
        ]
        for quantity, values, average, retention in rows:
            if any(value is not None for value in values):
                cells = [_cell(value) for value in (*values, average, retention)]
                lines.append(f"| {method} | {quantity} | " + " | ".join(cells) + " |")
    lines.append("")
    for method, result in summary["methods"].items():
        notes = [f"identical masks {_cell(result['equivariance']['identical_masks'])}"]
        if "pose_accuracy" in result:
            notes.append(f"pose accuracy {_cell(result['pose_accuracy'])}")
        lines.append(f"{method}: " + ", ".join(notes))
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
    return "\n".join([*lines, "", f"seconds: {seconds}", ""])


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
