"""The summary of an evaluation as tables: for a person, a spreadsheet, a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from samrot.geometry.groups import find_group
from samrot.scoring import METRICS, mean

KINDS = {"segm": "segm", "bbox": "box"}


def summary_table(summary: dict[str, Any]) -> str:
    """The content of ``summary.json`` as a markdown table."""
    dataset, methods = summary["dataset"], summary["methods"]
    total = dataset.get("images_in_dataset", dataset["images"])  # 0.1.0 did not say
    photos = f"{total}" if total == dataset["images"] else f"{dataset['images']} of {total}"
    lines = [
        f"{summary['segmenter']} on {photos} photos, {dataset['instances']} instances; "
        f"prompts: {summary['prompts']}; canonicalizer: {summary['canonicalizer']}",
        "",
        *markdown(*_main_table(summary)),
        "",
        *interval_lines(summary),
    ]
    for method, result in methods.items():
        notes = [f"identical masks {_cell(result['equivariance']['identical_masks'])}"]
        if "pose_accuracy" in result:
            error = result.get("pose_standard_error")
            spread = "" if error is None else f" +- {error:.4f}"
            notes.append(f"pose accuracy {_cell(result['pose_accuracy'])}{spread}")
        lines.append(f"{method}: " + ", ".join(notes))
    if known := summary.get("trained_on"):
        counts = [
            f"{name} " + ("not known" if count is None else f"{count} of {dataset['images']}")
            for name, count in known.items()
        ]
        lines += ["", f"photos scored that were trained on: {', '.join(counts)}"]
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in summary["seconds"].items())
    return "\n".join([*lines, "", f"seconds: {seconds}", ""])


def interval_lines(summary: dict[str, Any]) -> list[str]:
    """The intervals, where the run has some; differences that may be none are marked."""
    found = summary.get("intervals")
    if not found:
        return []
    rows = []
    for method, of_kinds in found["methods"].items():
        for quantity, part in of_kinds.items():
            if quantity == "pose_accuracy":
                rows.append([method, "pose accuracy", _range(part), "-", "-"])
                continue
            difference = (part.get("minus_none") or {}).get("average")
            holds_zero = difference is not None and difference[0] <= 0 <= difference[1]
            mark = " (holds 0)" if holds_zero else ""
            name = {"AP": "segm AP", "bbox_AP": "box AP"}.get(quantity, quantity)
            cells = [_range(part["average"]), _range(difference) + mark]
            rows.append([method, name, *cells, _range(part.get("retention"))])
    header = ["method", "quantity", "average over the views", "minus none", "retention"]
    share = f"{100 * found['confidence']:g} %"
    return [
        f"{share} intervals, {found['resamples']} paired resamples of the photos:",
        "",
        *markdown(header, rows),
        "",
    ]


def _range(pair: Sequence[float] | None) -> str:
    return "-" if pair is None else f"{pair[0]:.4f} to {pair[1]:.4f}"


def detail_tables(summary: dict[str, Any]) -> str:
    """AP by threshold and size, and by category, means over the views; as markdown."""
    lines: list[str] = []
    for kind, name in KINDS.items():
        scores = {
            method: [_scores(view, kind) for view in result["angles"].values()]
            for method, result in summary["methods"].items()
        }
        rows = [
            [method, *(mean([view.get(metric) for view in views]) for metric in METRICS)]
            for method, views in scores.items()
        ]
        if any(row[1] is not None for row in rows):
            lines += ["", f"{name} AP, mean over the views:", ""]
            lines += markdown(["method", *METRICS], rows)
        categories = next(iter(scores.values()))[0].get("AP_by_category", {})
        by_category = [
            [
                category,
                *(
                    mean([view["AP_by_category"][category] for view in views])
                    for views in scores.values()
                ),
            ]
            for category in categories
        ]
        if by_category:
            lines += ["", f"{name} AP by category, mean over the views:", ""]
            lines += markdown(["category", *scores], by_category)
    return "\n".join([*lines, ""])


def summary_csv(summary: dict[str, Any]) -> str:
    """Every score of every view, one a line; what is undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "view", "kind", "category", "metric", "value"])
    for method, result in summary["methods"].items():
        for view, scored in result["angles"].items():
            writer.writerow([method, view, "segm", "", "mIoU", scored.get("mIoU")])
            for kind in KINDS:
                scores = _scores(scored, kind)
                for metric in METRICS:
                    writer.writerow([method, view, kind, "", metric, scores.get(metric)])
                for category, ap in scores.get("AP_by_category", {}).items():
                    writer.writerow([method, view, kind, category, "AP", ap])
    return text.getvalue()


def summary_latex(summary: dict[str, Any]) -> str:
    """The main table, for a paper."""
    header, rows = _main_table(summary)
    lines = [
        f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
        "\\hline",
        " & ".join(header) + " \\\\",
        "\\hline",
        *(" & ".join(map(_cell, row)) + " \\\\" for row in rows),
        "\\hline",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _main_table(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A header, and a row for each method and quantity: by view, their mean, and retention."""
    methods, group = summary["methods"], find_group(summary.get("group", "C4"))
    keys = list(dict.fromkeys(key for result in methods.values() for key in result["angles"]))
    whole = set(keys) == set(group.names)
    average = f"{group.name} average" if whole else f"average of {len(keys)}"
    rows = []
    for method, result in methods.items():
        views = [result["angles"][key] for key in keys]
        for quantity, values, retention in (
            ("segm AP", [view.get("AP") for view in views], result["retention"]),
            ("segm AP per image", [view.get("AP_per_image") for view in views], None),
            ("mIoU", [view.get("mIoU") for view in views], None),
            (
                "box AP",
                [_scores(view, "bbox").get("AP") for view in views],
                result["bbox_retention"],
            ),
        ):
            if any(value is not None for value in values):
                rows.append([method, quantity, *values, mean(values), retention])
    return ["method", "quantity", *keys, average, "retention"], rows


def _scores(view: dict[str, Any], kind: str) -> dict[str, Any]:
    """The scores of a view, of masks or of boxes; none where they were not scored."""
    scores: dict[str, Any] = (view.get("bbox") or {}) if kind == "bbox" else view
    return scores


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table; cells are numbers, texts, or None where there is nothing."""
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    ]


def _cell(value: float | str | None) -> str:
    """A number with four digits; text as it is; - where there is none."""
    if isinstance(value, str):
        return value
    return "-" if value is None else f"{value:.4f}"
