"""The page of an evaluation of clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samrot.evaluation.cloud_table import cloud_rows
from samrot.evaluation.report.page import PageTable, Section, render_page
from samrot.evaluation.report.plots import plot_by_view, plot_seconds
from samrot.evaluation.report.provenance import provenance
from samrot.evaluation.table import canonicalizer_note
from samrot.wording import counted


def pointcloud_report(summary: dict[str, Any], folder: Path) -> str:
    """A finished run as one page of HTML.

    Args:
        summary: content of ``summary.json``.
        folder: folder of the run, for its settings.
    """
    dataset, methods = summary["dataset"], summary["methods"]
    lead = (
        f"{counted(dataset['clouds'], 'cloud')} of {dataset['classes']} classes, "
        f"{counted(summary['rotations'], 'rotation')} each{canonicalizer_note(summary)}"
    )
    scenarios = list(next(iter(methods.values()))["angles"])
    accuracy = {
        name: [r["angles"][s]["accuracy"] for s in scenarios] for name, r in methods.items()
    }
    spreads = {
        name: [_two_errors(result["angles"][scenario]) for scenario in scenarios]
        for name, result in methods.items()
    }
    caption = "accuracy on clouds as they are, turned about z, and turned at random"
    return render_page(
        f"{summary['network']} on turned clouds",
        lead,
        [
            Section(
                "Accuracy",
                ["The bars are two standard errors over the clouds."],
                [plot_by_view(accuracy, scenarios, spreads, "accuracy", caption)],
                [PageTable(*cloud_rows(summary))],
            ),
            Section("Cost", (), [plot_seconds(summary["seconds"], "seconds in each stage")]),
            *provenance(folder),
        ],
    )


def _two_errors(scores: dict[str, Any]) -> tuple[float, float] | None:
    value, error = scores["accuracy"], scores["standard_error"]
    return None if error is None else (value - 2 * error, value + 2 * error)
