"""The page of an evaluation of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samrot.evaluation.class_summary import class_rows
from samrot.evaluation.report.page import PageTable, Section, render_page
from samrot.evaluation.report.plots import plot_by_view, plot_confusion, plot_seconds
from samrot.evaluation.report.provenance import provenance
from samrot.evaluation.table import canonicalizer_note, interval_caption, interval_table
from samrot.geometry.groups import C4, C8, C16
from samrot.wording import counted


def classification_report(summary: dict[str, Any], folder: Path) -> str:
    """A finished run as one page of HTML.

    Args:
        summary: content of ``summary.json``.
        folder: folder of the run, for its settings.
    """
    dataset, methods = summary["dataset"], summary["methods"]
    lead = (
        f"{counted(dataset['images'], 'photo')} of {dataset['classes']} classes"
        f"{canonicalizer_note(summary)}"
    )
    views = list(next(iter(methods.values()))["angles"])
    accuracy = {
        name: [result["angles"][view]["accuracy"] for view in views]
        for name, result in methods.items()
    }
    of_methods = (summary.get("intervals") or {"methods": {}})["methods"]
    spreads = {
        name: [found["accuracy"]["angles"][view] for view in views]
        for name, found in of_methods.items()
    }
    table = interval_table(summary)
    poses = []
    for name, result in methods.items():
        if "pose_confusion" in result:
            counts = result["pose_confusion"]
            names = next(g.names for g in (C4, C8, C16) if g.order == len(counts))
            poses.append(plot_confusion(counts, names, f"{name}: poses, photos x views"))
    return render_page(
        f"{summary['classifier']} on turned photos",
        lead,
        [
            Section(
                "Accuracy",
                [] if table is None else [interval_caption(summary)],
                [plot_by_view(accuracy, views, spreads, "accuracy", "accuracy at each turn")],
                [PageTable(*rows) for rows in (class_rows(summary), table) if rows is not None],
            ),
            Section("Poses", pictures=poses),
            Section("Cost", (), [plot_seconds(summary["seconds"], "seconds in each stage")]),
            *provenance(folder),
        ],
    )
