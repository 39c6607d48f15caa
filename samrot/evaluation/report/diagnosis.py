"""The page of a diagnosis of a canonicalizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samrot.data.images import read_image
from samrot.evaluation.pose_accuracy import labels_line, pose_rows, quantity_rows, report_title
from samrot.evaluation.report.page import PageTable, Picture, Section, render_page
from samrot.evaluation.report.plots import plot_confusion, plot_curve
from samrot.evaluation.report.provenance import provenance
from samrot.geometry.groups import find_group


def diagnosis_report(report: dict[str, Any], folder: Path) -> str:
    """A diagnosis as one page of HTML.

    Args:
        report: content of ``report.json``.
        folder: folder of the run, for its settings, and the sheet of mistakes if there is one.
    """
    names = find_group(report["group"]).names
    sheets = {
        "worst.png": f"as {report['frame']}, and as the canonicalizer corrects it",
        "worst_angles.png": "turned at random, and as the canonicalizer corrects it",
    }
    mistakes = [
        Picture.of_image(read_image(folder / name), caption)
        for name, caption in sheets.items()
        if (folder / name).is_file()
    ]
    question = "is a pose that is given 80 % right 80 % of the time?"
    return render_page(
        report_title(report),
        labels_line(report),
        [
            Section("Numbers", tables=[PageTable(["quantity", "value"], quantity_rows(report))]),
            Section(
                "Poses",
                pictures=[
                    plot_confusion(report["pose_confusion"], names, "true and predicted poses")
                ],
                tables=[PageTable(["degrees", *names], pose_rows(report))],
            ),
            Section("Reliability", pictures=[plot_curve(report["reliability"], question)]),
            Section("Mistakes given the least probability", pictures=mistakes),
            *provenance(folder),
        ],
    )
