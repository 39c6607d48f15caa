"""The summary of an evaluation of clouds as a table for a person."""

from __future__ import annotations

from typing import Any

from samrot.evaluation.table import canonicalizer_note, markdown, seconds_line
from samrot.wording import counted

QUANTITIES = ("accuracy", "standard_error", "agreement", "error_deg", "up_error_deg")


def cloud_table(summary: dict[str, Any]) -> str:
    """The content of ``summary.json`` as a markdown table."""
    dataset = summary["dataset"]
    lines = [
        f"{summary['network']} on {counted(dataset['clouds'], 'cloud')} of "
        f"{dataset['classes']} classes, {counted(summary['rotations'], 'rotation')} each"
        f"{canonicalizer_note(summary)}",
        "",
        *markdown(*cloud_rows(summary)),
        "",
        seconds_line(summary),
        "",
    ]
    return "\n".join(lines)


def cloud_rows(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A header, and a row for each method and quantity: by scenario, and retention."""
    methods = summary["methods"]
    scenarios = list(dict.fromkeys(key for result in methods.values() for key in result["angles"]))
    rows: list[list[Any]] = []
    for method, result in methods.items():
        for quantity in QUANTITIES:
            values = [result["angles"][key].get(quantity) for key in scenarios]
            if any(value is not None for value in values):
                retention = result["retention"] if quantity == "accuracy" else None
                rows.append([method, quantity, *values, retention])
    return ["method", "quantity", *scenarios, "retention"], rows
