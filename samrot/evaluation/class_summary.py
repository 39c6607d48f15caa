"""From the records of an evaluation of a classifier to its numbers, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from samrot.evaluation.intervals import SEED, described, pair, view_intervals
from samrot.evaluation.methods import POSE_METHODS
from samrot.evaluation.table import canonicalizer_note, interval_lines, markdown, seconds_line
from samrot.evaluation.views import OrbitView, average_key
from samrot.geometry.groups import C4, D4, FiniteGroup, rotation_matrix
from samrot.runtime.records import Record
from samrot.scoring import mean
from samrot.scoring.pose_statistics import wilson_error
from samrot.scoring.resampled import draw_counts
from samrot.wording import counted


def summarise_classes(
    records: Iterable[Record],
    views: Sequence[OrbitView],
    group: FiniteGroup,
    pose_group: FiniteGroup,
    methods: Sequence[str],
    resamples: int,
) -> dict[str, Any]:
    """Score a finished run.

    Args:
        records: records by photo; read once.
        views: the views, upright first.
        group: group that they are the orbit of.
        pose_group: group by whose elements poses are told apart, at least as fine.
        methods: methods of the run.
        resamples: resamples of the photos, for intervals; 0 for none.

    Returns:
        Parts of ``summary.json``; what is undefined is None.
    """
    seconds: dict[str, float] = {}
    correct: dict[str, list[list[bool]]] = {method: [] for method in methods}
    identical: dict[str, list[float]] = {method: [] for method in methods}
    poses: dict[str, list[list[int]]] = {m: [] for m in methods if POSE_METHODS[m].estimates}
    for record in records:
        for stage, spent in record["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
        for method in methods:
            results = [record["methods"][method][view.key] for view in views]
            correct[method].append([result["predicted"] == record["label"] for result in results])
            identical[method].append(record["identical_scores"][method])
            if method in poses:
                found = [(result["pose"], result["tilt_deg"]) for result in results]
                poses[method].append([nearest_element(pose_group, *pose) for pose in found])
    true = np.array(
        [nearest_element(pose_group, view.pose.element, view.pose.tilt_deg) for view in views]
    )
    of_methods: dict[str, Any] = {}
    plain = None if "none" not in methods else mean([of[0] for of in correct["none"]])
    for method in methods:
        means = np.mean(correct[method], axis=0)
        by_view = {v.key: float(value) for v, value in zip(views, means, strict=True)}
        averages = {each.name: _average(by_view, each) for each in (C4, group)}
        result: dict[str, Any] = {
            "angles": {view: {"accuracy": accuracy} for view, accuracy in by_view.items()},
            **{average_key(name): average for name, average in averages.items()},
            "retention": averages[group.name]["accuracy"] / plain if plain else None,
            "identical_scores": mean(identical[method]),
        }
        if method in poses:
            result |= _pose_scores(np.array(poses[method]), true, pose_group)
        of_methods[method] = result
    summary: dict[str, Any] = {
        "group": group.name,
        "pose_group": pose_group.name,
        "methods": of_methods,
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }
    if resamples:
        right = {method: np.array(found) == true for method, found in poses.items()}
        summary["intervals"] = _intervals(correct, right, views, resamples)
    return summary


@lru_cache
def nearest_element(group: FiniteGroup, element: int, tilt_deg: float) -> int:
    """The element of a group that a pose, an element of D4 and a tilt, is turned least from."""
    return group.nearest(D4.matrix(element) @ rotation_matrix(tilt_deg))


def _average(by_view: dict[str, float], group: FiniteGroup) -> dict[str, float]:
    """Mean and lowest accuracy over the turns of a group."""
    turns = [by_view[name] for name in group.names]
    return {"accuracy": float(np.mean(turns)), "worst": min(turns)}


def _pose_scores(poses: np.ndarray, true: np.ndarray, group: FiniteGroup) -> dict[str, Any]:
    """(photos, views) estimated elements and (views,) true ones, to accuracy and confusion."""
    confusion = np.zeros((group.order, group.order), dtype=int)
    np.add.at(confusion, (np.broadcast_to(true, poses.shape), poses), 1)
    accuracy = float((poses == true).mean())
    return {
        "pose_accuracy": accuracy,
        # The views of a photo do not count: by the law they are right or wrong together.
        "pose_standard_error": wilson_error(accuracy, len(poses)),
        "pose_confusion": confusion.tolist(),
    }


def _intervals(
    correct: dict[str, list[list[bool]]],
    right_poses: dict[str, np.ndarray],
    views: Sequence[OrbitView],
    resamples: int,
) -> dict[str, Any]:
    num_photos = len(next(iter(correct.values())))
    counts = draw_counts(num_photos, resamples, SEED)
    drawn = {
        method: dict(
            zip([v.key for v in views], (counts @ np.array(found)).T / num_photos, strict=True)
        )
        for method, found in correct.items()
    }
    of_methods: dict[str, Any] = {}
    for method in correct:
        of_methods[method] = {"accuracy": view_intervals(drawn, method)}
        if method in right_poses:
            shares = counts @ right_poses[method].mean(axis=1) / num_photos
            of_methods[method]["pose_accuracy"] = pair(shares)
    return described(resamples, of_methods)


def class_table(summary: dict[str, Any]) -> str:
    """The content of ``summary.json`` as a markdown table."""
    dataset = summary["dataset"]
    notes: list[str] = []
    for method, result in summary["methods"].items():
        note = f"{method}: identical scores {result['identical_scores']:.4f}"
        if "pose_accuracy" in result:
            spread = result["pose_standard_error"]
            note += f", pose accuracy {result['pose_accuracy']:.4f} +- {spread:.4f}"
        notes.append(note)
    lines = [
        f"accuracy of {summary['classifier']} on {counted(dataset['images'], 'photo')} of "
        f"{dataset['classes']} classes{canonicalizer_note(summary)}",
        "",
        *markdown(*class_rows(summary)),
        "",
        *interval_lines(summary),
        *notes,
        "",
        seconds_line(summary),
        "",
    ]
    return "\n".join(lines)


def class_rows(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A header, and a row for each method: accuracy by view, their mean, and retention."""
    methods, group = summary["methods"], summary["group"]
    keys = list(next(iter(methods.values()))["angles"])
    rows: list[list[Any]] = []
    for method, result in methods.items():
        average = result[average_key(group)]
        accuracies = [result["angles"][key]["accuracy"] for key in keys]
        rows.append(
            [method, *accuracies, average["accuracy"], average["worst"], result["retention"]]
        )
    return ["method", *keys, f"{group} average", "worst", "retention"], rows
