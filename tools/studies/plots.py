"""Plots of the files of items, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samrot.files import replacing

Row = Mapping[str, str]
DISTINCT = 10  # colours of matplotlib's own cycle
DECADES = 100.0  # a span of numbers above which their axis is logarithmic


def draw(rows: Sequence[Row], axes: Mapping[str, Any], target: Path) -> None:
    """One quantity over another, or over a label.

    Args:
        rows: those of a CSV.
        axes: ``x``, a quantity or a label; ``y``, a quantity; ``line``, a label whose rows are
            joined each, if any; ``diagonal``, whether to show where the two are equal.
        target: the file.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    plot = figure.add_subplot(xlabel=axes["x"], ylabel=axes["y"])
    lines = _lines(rows, axes)
    if len(lines) > DISTINCT:
        plot.set_prop_cycle(color=colormaps["tab20"](range(len(lines))))
    for name, points in lines.items():
        places, values = zip(*points, strict=True)
        ends = [[float(row[end] or row["value"]) for row in values] for end in ("low", "high")]
        middle = [float(row["value"]) for row in values]
        below = [m - low for m, low in zip(middle, ends[0], strict=True)]
        above = [high - m for m, high in zip(middle, ends[1], strict=True)]
        joined = "-" if "line" in axes else ""
        spread = [[max(0.0, number) for number in side] for side in (below, above)]
        plot.errorbar(
            places, middle, yerr=spread, linestyle=joined, marker="o", capsize=2, label=name
        )
        numbers = [place for place in places if isinstance(place, float) and place > 0]
        if len(numbers) == len(places) > 1 and max(numbers) / min(numbers) > DECADES:
            plot.set_xscale("log")
    if axes.get("diagonal"):
        plot.axline((0, 0), slope=1, color="grey", linewidth=0.8)
        plot.set(xlim=(0, None), ylim=(0, None))
    plot.grid(alpha=0.3)
    plot.legend(fontsize="small")
    # The same numbers make the same file.
    with rc_context({"svg.hashsalt": "samrot"}), replacing(target) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None})


def _lines(rows: Sequence[Row], axes: Mapping[str, Any]) -> dict[str, list[tuple[Any, Row]]]:
    """Line -> its points: the place of each, a number or a text, and its row."""
    first = rows[0]
    labels = list(first)[: list(first).index("quantity")]
    places = {_key(row, labels): row["value"] for row in rows if row["quantity"] == axes["x"]}
    lines: dict[str, list[tuple[Any, Row]]] = {}
    for row in rows:
        place = row[axes["x"]] if axes["x"] in labels else places.get(_key(row, labels), "")
        if row["quantity"] == axes["y"] and place and row["value"]:
            others = [row[label] for label in labels if label != axes["x"]]
            name = row[axes["line"]] if "line" in axes else ", ".join(filter(None, others))
            lines.setdefault(name, []).append((_number(place), row))
    return lines


def _key(row: Row, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[label] for label in labels)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
