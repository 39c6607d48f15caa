"""The summary of an evaluation as tables: for a person, a spreadsheet, a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from samrot.evaluation.methods import ask_canonicalizer
from samrot.evaluation.views import ANY_ANGLE
from samrot.geometry.groups import GROUPS
from samrot.scoring import METRICS, mean
from samrot.wording import counted

KINDS = {"segm": "segm", "bbox": "box"}
MOST_COLUMNS = 8  # of views, side by side


def summary_table(summary: dict[str, Any]) -> str:
    """The content of ``summary.json`` as a markdown table."""
    dataset, methods = summary["dataset"], summary["methods"]
    total = dataset.get("images_in_dataset", dataset["images"])  # 0.1.0 did not say
    part = "" if total == dataset["images"] else f"{dataset['images']} of "
    lines = [
        f"{summary['segmenter']} on {part}{counted(total, 'photo')}, "
        f"{counted(dataset['instances'], 'instance')}; "
        f"prompts: {summary['prompts']}{canonicalizer_note(summary)}",
        "",
        *markdown(*main_table(summary)),
        "",
        *interval_lines(summary),
    ]
    for method, result in methods.items():
        notes = [f"identical masks {format_cell(result['equivariance']['identical_masks'])}"]
        if "pose_accuracy" in result:
            error = result.get("pose_standard_error")
            spread = "" if error is None else f" +- {error:.4f}"
            notes.append(f"pose accuracy {format_cell(result['pose_accuracy'])}{spread}")
            if (errors := result.get("angle_error_deg")) and summary["group"] == ANY_ANGLE:
                notes.append(
                    f"angle error median {errors['median']:.1f} degrees, "
                    f"{format_cell(errors['within_45'])} within 45"
                )
        if (passes := result.get("encoder_passes", 1)) != 1:
            notes.append(f"{passes:.2f} encoder passes a photo")
        lines.append(f"{method}: " + ", ".join(notes))
    if known := summary.get("trained_on"):
        counts = [
            f"{name} " + ("not known" if count is None else f"{count} of {dataset['images']}")
            for name, count in known.items()
        ]
        lines += ["", f"photos scored that were trained on: {', '.join(counts)}"]
    return "\n".join([*lines, "", seconds_line(summary), ""])


def canonicalizer_note(summary: dict[str, Any]) -> str:
    """What the first line says of the canonicalizer, if any method of the run had one."""
    asked = ask_canonicalizer(summary["methods"])
    return f"; canonicalizer: {summary['canonicalizer']}" if asked else ""


def seconds_line(summary: dict[str, Any]) -> str:
    """Where the time of a run went."""
    return "seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in summary["seconds"].items())


def interval_table(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]] | None:
    """A header and rows of intervals, where the run has some; differences that may be none are
    marked.
    """
    found = summary.get("intervals")
    if not found:
        return None
    rows: list[list[Any]] = []
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
    return ["method", "quantity", "average over the views", "minus none", "retention"], rows


def interval_caption(summary: dict[str, Any]) -> str:
    """What the intervals of a run are."""
    found = summary["intervals"]
    share = f"{100 * found['confidence']:g} %"
    return f"{share} intervals, {found['resamples']} paired resamples of the photos:"


def interval_lines(summary: dict[str, Any]) -> list[str]:
    """The lines of that table, and what it is; none where the run has no intervals."""
    table = interval_table(summary)
    return [] if table is None else [interval_caption(summary), "", *markdown(*table), ""]


def _range(pair: Sequence[float] | None) -> str:
    return "-" if pair is None else f"{pair[0]:.4f} to {pair[1]:.4f}"


def detail_tables(summary: dict[str, Any]) -> str:
    """AP by threshold and size, and by category, means over the views; as markdown."""
    lines: list[str] = []
    methods = [*summary["methods"].values()]
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
            by_view = [
                [key, *(_scores(result["angles"][key], kind).get("AP") for result in methods)]
                for key in methods[0]["angles"]
            ]
            if len(by_view) > MOST_COLUMNS:
                lines += ["", f"{name} AP by view:", ""]
                lines += markdown(["view", *scores], by_view)
        if by_category := category_rows(summary, kind):
            lines += ["", f"{name} AP by category, mean over the views:", ""]
            lines += markdown(["category", *scores], by_category)
    return "\n".join([*lines, ""])


def category_rows(summary: dict[str, Any], kind: str) -> list[list[Any]]:
    """For each category its name, and the AP by each method, mean over the views."""
    methods = [
        [_scores(view, kind).get("AP_by_category", {}) for view in result["angles"].values()]
        for result in summary["methods"].values()
    ]
    return [
        [category, *(mean([view[category] for view in views]) for views in methods)]
        for category in methods[0][0]
    ]


def summary_csv(summary: dict[str, Any]) -> str:
    """Every score of every view, one a line; what is undefined is empty.

    Boxes have lines where they were scored: those of the ground truth are not.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "view", "kind", "category", "metric", "value"])
    for method, result in summary["methods"].items():
        for view, scored in result["angles"].items():
            writer.writerow([method, view, "segm", "", "mIoU", scored.get("mIoU")])
            for kind in KINDS:
                scores = _scores(scored, kind)
                for metric in METRICS if scores else ():
                    writer.writerow([method, view, kind, "", metric, scores.get(metric)])
                for category, ap in scores.get("AP_by_category", {}).items():
                    writer.writerow([method, view, kind, category, "AP", ap])
    return text.getvalue()


def summary_latex(summary: dict[str, Any]) -> str:
    """The main table, for a paper."""
    header, rows = main_table(summary)
    lines = [
        f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
        "\\hline",
        " & ".join(header) + " \\\\",
        "\\hline",
        *(" & ".join(map(format_cell, row)) + " \\\\" for row in rows),
        "\\hline",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def main_table(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A header, and a row for each method and quantity: by view, their mean, and retention.

    Of many views only the upright one is shown, and the worst.
    """
    methods, group = summary["methods"], summary.get("group", "C4")
    keys = list(dict.fromkeys(key for result in methods.values() for key in result["angles"]))
    whole = group in GROUPS and set(keys) == set(GROUPS[group].names)
    average = f"{group} average" if whole else f"average of {len(keys)}"
    many = len(keys) > MOST_COLUMNS
    shown = [key for key in keys if key == "0" or not many]
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
            defined = [value for value in values if value is not None]
            if defined:
                cells = [values[keys.index(key)] for key in shown]
                worst = [min(defined)] if many else []
                rows.append([method, quantity, *cells, mean(values), *worst, retention])
    header = [*shown, average, *(["worst"] if many else []), "retention"]
    return ["method", "quantity", *header], rows


def _scores(view: dict[str, Any], kind: str) -> dict[str, Any]:
    """The scores of a view, of masks or of boxes; none where they were not scored."""
    scores: dict[str, Any] = (view.get("bbox") or {}) if kind == "bbox" else view
    return scores


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table; cells are numbers, texts, or None where there is nothing."""
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {' | '.join(map(format_cell, row))} |" for row in rows),
    ]


def format_cell(value: float | str | None) -> str:
    """A number with four digits; text as it is; - where there is none."""
    if isinstance(value, str):
        return value
    return "-" if value is None else f"{value:.4f}"
