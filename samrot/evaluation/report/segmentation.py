"""The page of an evaluation of masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samrot.data.coco import CocoDataset
from samrot.evaluation.report.page import PageTable, Picture, Section, render_page
from samrot.evaluation.report.photos import draw_disagreements, widest_disagreements
from samrot.evaluation.report.plots import (
    plot_around,
    plot_by_view,
    plot_changes,
    plot_confusion,
    plot_curve,
    plot_seconds,
)
from samrot.evaluation.report.provenance import provenance
from samrot.evaluation.table import (
    KINDS,
    canonicalizer_note,
    category_rows,
    interval_caption,
    interval_table,
    main_table,
)
from samrot.evaluation.views import ANY_ANGLE
from samrot.geometry.groups import C4, C8, D4
from samrot.runtime.records import Record
from samrot.wording import counted

MOST_CATEGORIES = 30  # of a plot


def segmentation_report(
    summary: dict[str, Any], records: Iterable[Record], dataset: CocoDataset, folder: Path
) -> str:
    """A finished run as one page of HTML.

    Args:
        summary: content of ``summary.json``.
        records: records of the run; read once.
        dataset: dataset that was run, for its photos.
        folder: folder of the run, for its settings.
    """
    described = summary["dataset"]
    lead = (
        f"{counted(described['images'], 'photo')}, "
        f"{counted(described['instances'], 'instance')}; prompts: "
        f"{summary['prompts']}{canonicalizer_note(summary)}"
    )
    return render_page(
        f"{summary['segmenter']} on turned photos",
        lead,
        [
            Section("Scores", tables=[PageTable(*main_table(summary))]),
            _by_view(summary),
            *(_categories(summary, kind) for kind in KINDS),
            _poses(summary),
            _cost(summary),
            _photos(records, dataset),
            *provenance(folder),
        ],
    )


def _by_view(summary: dict[str, Any]) -> Section:
    """AP at each view, with intervals where the run has some."""
    table = interval_table(summary)
    spreads_of = (summary.get("intervals") or {"methods": {}})["methods"]
    views = list(next(iter(summary["methods"].values()))["angles"])
    pictures: list[Picture] = []
    for kind, name in KINDS.items():
        values = {
            method: [_ap(result["angles"][view], kind) for view in views]
            for method, result in summary["methods"].items()
        }
        if all(value is None for of_views in values.values() for value in of_views):
            continue
        key = "AP" if kind == "segm" else f"{kind}_AP"
        spreads = {
            method: [intervals[key]["angles"][view] for view in views]
            for method, intervals in spreads_of.items()
            if key in intervals
        }
        caption = f"{name} AP at each turn, degrees counter-clockwise" + (
            "; the bars are intervals" if spreads else ""
        )
        pictures.append(plot_by_view(values, views, spreads, f"{name} AP", caption))
        if summary.get("group") in (C8.name, ANY_ANGLE):
            angles_deg = [float(view) for view in views]
            pictures.append(plot_around(values, angles_deg, f"{name} AP around the circle"))
    hint = "Intervals are not there; --bootstrap 1000 adds them."
    return Section(
        "AP by angle",
        [hint if table is None else interval_caption(summary)],
        pictures,
        [] if table is None else [PageTable(*table)],
    )


def _ap(scores: dict[str, Any], kind: str) -> float | None:
    of_kind = scores if kind == "segm" else scores.get("bbox") or {}
    return of_kind.get("AP")


def _categories(summary: dict[str, Any], kind: str) -> Section:
    """What each method changes in each category, against the first method."""
    methods, rows = list(summary["methods"]), category_rows(summary, kind)
    title = f"{KINDS[kind]} AP by category"
    pictures = []
    for place, method in enumerate(methods[1:], start=2):
        changes = {
            row[0]: row[place] - row[1]
            for row in rows
            if row[place] is not None and row[1] is not None and row[place] != row[1]
        }
        largest = sorted(changes, key=lambda name: -abs(changes[name]))[:MOST_CATEGORIES]
        shown = dict(sorted(((n, changes[n]) for n in largest), key=lambda item: -item[1]))
        if shown:
            which = f"the {len(shown)} largest of {len(changes)} changes"
            caption = f"{method} less {methods[0]}, mean over the views: {which}"
            pictures.append(plot_changes(shown, caption))
    tables = [PageTable(["category", *methods], rows, folded="all categories")] if rows else []
    return Section(title, (), pictures, tables)


def _poses(summary: dict[str, Any]) -> Section:
    """Which poses are taken for which, and whether their probabilities are true."""
    lines, pictures = [], []
    for method, result in summary["methods"].items():
        if "pose_confusion" not in result:
            continue
        error = result.get("pose_standard_error")
        spread = "" if error is None else f" +- {error:.4f}"
        lines.append(f"{method}: pose accuracy {result['pose_accuracy']:.4f}{spread}")
        confusion = result["pose_confusion"]
        names = (C4 if len(confusion) == C4.order else D4).names
        pictures.append(plot_confusion(confusion, names, f"{method}: poses, photos x views"))
        if "reliability" in result:
            caption = f"{method}: is a pose that is given 80 % right 80 % of the time?"
            pictures.append(plot_curve(result["reliability"], caption))
    return Section("Poses", lines, pictures)


def _cost(summary: dict[str, Any]) -> Section:
    """Where the time went."""
    seconds, photos = summary["seconds"], summary["dataset"]["images"]
    work = sum(spent for stage, spent in seconds.items() if stage != "score")
    lines = [f"{work / photos:.2f} seconds a photo, for all methods and views, but for scoring"]
    for method, result in summary["methods"].items():
        if (passes := result.get("encoder_passes")) is not None:
            lines.append(f"{method}: {passes:.2f} encoder passes a photo and view")
    return Section("Cost", lines, [plot_seconds(seconds, "seconds in each stage, of the run")])


def _photos(records: Iterable[Record], dataset: CocoDataset) -> Section:
    pictures = draw_disagreements(widest_disagreements(records), dataset)
    line = "Above each picture is the mean IoU, or the photo's own AP where boxes were detected."
    return Section("Photos where the methods differ most", [line] if pictures else [], pictures)
