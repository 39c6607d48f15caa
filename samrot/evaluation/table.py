"""The summary of an evaluation as a table for a person."""

from __future__ import annotations

from typing import Any


def summary_table(summary: dict[str, Any]) -> str:
    """The content of ``summary.json`` as a markdown table."""
    dataset, methods = summary["dataset"], summary["methods"]
    group = summary.get("group", "C4")
    average = f"{group.lower()}_avg"
    keys = list(dict.fromkeys(key for result in methods.values() for key in result["angles"]))
    lines = [
        f"{summary['segmenter']} on {dataset['images']} photos, {dataset['instances']} instances; "
        f"prompts: {summary['prompts']}; canonicalizer: {summary['canonicalizer']}",
        "",
        f"| method | quantity | {' | '.join(keys)} | {group} average | retention |",
        "|---" * (4 + len(keys)) + "|",
    ]
    for method, result in methods.items():
        views = [result["angles"][key] for key in keys]
        boxes = [view.get("bbox") or {} for view in views]
        rows = [
            ("segm AP", [view.get("AP") for view in views], "AP", result["retention"]),
            ("mIoU", [view.get("mIoU") for view in views], "mIoU", None),
            ("box AP", [box.get("AP") for box in boxes], "bbox_AP", result["bbox_retention"]),
        ]
        for quantity, values, name, retention in rows:
            if any(value is not None for value in values):
                cells = [cell(value) for value in (*values, result[average][name], retention)]
                lines.append(f"| {method} | {quantity} | " + " | ".join(cells) + " |")
    lines.append("")
    for method, result in methods.items():
        notes = [f"identical masks {cell(result['equivariance']['identical_masks'])}"]
        if "pose_accuracy" in result:
            notes.append(f"pose accuracy {cell(result['pose_accuracy'])}")
        lines.append(f"{method}: " + ", ".join(notes))
    if known := summary.get("trained_on"):
        total = dataset["images"]
        counts = [
            f"{name} " + ("not known" if count is None else f"{count} of {total}")
            for name, count in known.items()
        ]
        lines += ["", f"photos scored that were trained on: {', '.join(counts)}"]
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
    return "\n".join([*lines, "", f"seconds: {seconds}", ""])


def cell(value: float | None) -> str:
    """A number of the table; - for what is undefined."""
    return "-" if value is None else f"{value:.4f}"
