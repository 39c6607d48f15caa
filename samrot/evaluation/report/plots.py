"""Plots of the page, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samrot.drawing.pose_sheets import plot_reliability
from samrot.evaluation.report.page import Picture, data_uri

Number = float | None


def plot_by_view(
    values: Mapping[str, Sequence[Number]],
    views: Sequence[str],
    spreads: Mapping[str, Sequence[Sequence[float] | None]],
    quantity: str,
    caption: str,
) -> Picture:
    """A line for each method over the views.

    Args:
        values: method -> (V,) numbers; None where there is none.
        views: (V,) names of the views, as of the angles.
        spreads: method -> (V,) intervals (low, high); may be empty.
        quantity: what the numbers are.
        caption: what the plot shows.
    """
    figure = _figure(7.5, 3.6)
    axes = figure.add_subplot(ylabel=quantity)
    places = np.arange(len(views), dtype=float)
    for number, (method, of_views) in enumerate(values.items()):
        # Side by side, so that intervals of methods that agree are told apart.
        x = places + 0.06 * (number - (len(values) - 1) / 2)
        y = np.array([np.nan if value is None else value for value in of_views])
        line = axes.plot(x, y, marker="o", label=method)[0]
        for place, interval in zip(x, spreads.get(method, ()), strict=False):
            if interval is not None:
                axes.plot([place, place], interval, color=line.get_color(), linewidth=2, alpha=0.5)
    axes.set_xticks(places, views, rotation=45 if len(views) > 12 else 0)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    return _picture(figure, caption)


def plot_around(
    values: Mapping[str, Sequence[Number]], angles_deg: Sequence[float], caption: str
) -> Picture:
    """A closed line for each method around the circle.

    Args:
        values: method -> (V,) numbers; None where there is none.
        angles_deg: (V,) angles, counter-clockwise, 0 at the top.
        caption: what the plot shows.
    """
    figure = _figure(5.5, 5.0)
    axes = figure.add_subplot(projection="polar")
    axes.set_theta_zero_location("N")
    order = np.argsort(angles_deg)
    around = np.append(order, order[0])
    for method, of_views in values.items():
        radii = np.array([np.nan if value is None else value for value in of_views])
        axes.plot(np.deg2rad(angles_deg)[around], radii[around], marker=".", label=method)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return _picture(figure, caption)


def plot_changes(changes: Mapping[str, float], caption: str) -> Picture:
    """A bar to either side for each name, the largest gain first."""
    figure = _figure(7.5, 0.8 + 0.2 * len(changes))
    axes = figure.add_subplot()
    values = list(changes.values())
    colours = ["tab:green" if value > 0 else "tab:red" for value in values]
    axes.barh(list(changes), values, color=colours)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    return _picture(figure, caption)


def plot_confusion(
    confusion: Sequence[Sequence[int]], names: Sequence[str], caption: str
) -> Picture:
    """True against predicted poses of a group with these names, counted."""
    counts = np.array(confusion)
    side = 1.2 + 0.55 * len(counts)
    figure = _figure(side + 0.5, side)
    axes = figure.add_subplot(xlabel="predicted, degrees", ylabel="turned by, degrees")
    axes.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), "Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts[row].sum() / 2
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if dark else "black"
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    return _picture(figure, caption)


def plot_curve(curve: Mapping[str, Any], caption: str) -> Picture:
    """A reliability curve, as it is in the JSON."""
    figure = _figure(4.5, 4.5)
    plot_reliability(
        figure,
        np.array(curve["confidence"]),
        np.array(curve["accuracy"]),
        np.array(curve["count"]),
        curve["expected_calibration_error"],
    )
    return _picture(figure, caption)


def plot_seconds(seconds: Mapping[str, float], caption: str) -> Picture:
    """A bar for each stage of the work."""
    figure = _figure(7.5, 0.9 + 0.3 * len(seconds))
    axes = figure.add_subplot(xlabel="seconds")
    bars = axes.barh(list(seconds), list(seconds.values()))
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    return _picture(figure, caption)


def _figure(width: float, height: float) -> Any:
    """An empty figure, of a size in inches."""
    from matplotlib.figure import Figure  # a second, that other commands need not wait for

    return Figure(figsize=(width, height), layout="constrained")


def _picture(figure: Any, caption: str) -> Picture:
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "samrot"}):  # the same numbers make the same file
        figure.savefig(file, format="svg", metadata={"Date": None})
    return Picture(data_uri("image/svg+xml", file.getvalue()), caption)
