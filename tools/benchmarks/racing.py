"""Contestants that take turns, and the tables of what came out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Contestants = Mapping[str, Callable[[], object]]
Timings = dict[str, list[float]]
Figures = dict[str, dict[str, float]]


def race(contestants: Contestants, repeats: int) -> Timings:
    """Seconds of each contestant, each time; one round before that does not count.

    A slow moment of the machine hits all of them, so that ratios of medians stand.
    """
    seconds: Timings = {name: [] for name in contestants}
    for round_ in range(repeats + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def timings_table(timings: Timings) -> str:
    """Medians, spread, and ratios to the first contestant."""
    first = statistics.median(next(iter(timings.values())))
    lines = ["| what | median, s | least to most | ratio |", "|---|---|---|---|"]
    for name, seconds in timings.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.4g} to {max(seconds):.4g}"
        lines.append(f"| {name} | {median:.4g} | {spread} | {median / first:.3f} |")
    return "\n".join(lines)


def figures_table(figures: Figures) -> str:
    """One row each, one column for each quantity."""
    columns = list(next(iter(figures.values())))
    lines = [f"| what | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, row in figures.items():
        lines.append(f"| {name} | {' | '.join(f'{row[column]:.4g}' for column in columns)} |")
    return "\n".join(lines)
