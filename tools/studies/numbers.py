"""Numbers with intervals, the CSV files that hold them, and the tables that show those.

All numbers about the same photos come from the same resamples of them, so that differences have
intervals of their own. Numbers of several seeds resample the seeds too.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samrot.evaluation.table import markdown
from samrot.runtime.run_folder import describe_environment
from samrot.scoring.resampled import draw_counts, interval

SEED = 0
MEASURED = ("quantity", "seeds", "photos", "value", "low", "high")  # columns after the labels
PROVENANCE = ("command", "commit")


class Sample:
    """Photos, as they are and resampled.

    Args:
        num_photos: number of photos, N.
        resamples: number of resamples, R.
    """

    def __init__(self, num_photos: int, resamples: int) -> None:
        drawn = draw_counts(num_photos, resamples, SEED)
        self.counts = np.concatenate([np.ones((1, num_photos)), drawn])

    def __len__(self) -> int:
        return self.counts.shape[1]

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(1 + R,) means of a number a photo, (N,), of those that are finite; NaN of none."""
        counted = self.counts * np.isfinite(values)
        with np.errstate(invalid="ignore"):
            means: np.ndarray = counted @ np.nan_to_num(values) / counted.sum(axis=1)
        return means

    def of(self, statistic: Callable[[np.ndarray], float]) -> np.ndarray:
        """(1 + R,) values of any function of the indices of the photos drawn."""
        indices = np.arange(len(self))
        return np.array([statistic(np.repeat(indices, c)) for c in self.counts.astype(int)])


class Number(NamedTuple):
    """One row of the study.

    Args:
        labels: settings of the row, by name.
        quantity: what is measured.
        photos: number of photos that it is about.
        drawn: (S, 1 + R) its value for each of S seeds, on the photos and on R resamples of them.
    """

    labels: dict[str, Any]
    quantity: str
    photos: int
    drawn: np.ndarray

    def row(self) -> dict[str, Any]:
        """The mean over the seeds and its 95 % interval over photos and seeds, as text."""
        numbers = with_interval(over_seeds(self.drawn))
        measured = (self.quantity, len(self.drawn), self.photos, *map(_text, numbers))
        return {**self.labels, **dict(zip(MEASURED, measured, strict=True))}


def over_seeds(drawn: np.ndarray) -> np.ndarray:
    """(S, 1 + R) values of S seeds to (1 + R,): their mean, and means of resampled seeds."""
    seeds, columns = drawn.shape
    chosen = np.random.default_rng(SEED).integers(seeds, size=(seeds, columns - 1))
    resampled = np.take_along_axis(drawn[:, 1:], chosen, axis=0).mean(axis=0)
    return np.concatenate([[drawn[:, 0].mean()], resampled])


def with_interval(drawn: np.ndarray) -> tuple[float, float, float]:
    """(1 + R,) values to the first, and the ends of its 95 % interval; NaN where there is none."""
    low, high = interval(drawn[1:]) or (np.nan, np.nan)
    return float(drawn[0]), low, high


def of_one(labels: dict[str, Any], quantity: str, photos: int, drawn: np.ndarray) -> Number:
    """A number that has no seeds, of (1 + R,) values."""
    return Number(labels, quantity, photos, drawn[None])


def _text(number: float) -> str:
    """Four digits after the point, none where they say nothing, nothing where it is undefined."""
    if not np.isfinite(number):
        return ""
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.4f}"


def write_rows(path: Path, numbers: Iterable[Number], command: str) -> None:
    """Write rows as CSV, each with the command that made it and the commit."""
    rows = [number.row() for number in numbers]
    labels = list(dict.fromkeys(name for row in rows for name in row if name not in MEASURED))
    provenance = dict(zip(PROVENANCE, (command, describe_environment()["git"]), strict=True))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*labels, *MEASURED, *PROVENANCE])
        writer.writeheader()
        writer.writerows(row | provenance for row in rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows as markdown: a line for each setting, a column for each quantity, with its interval."""
    labels = [name for name in rows[0] if name not in (*MEASURED, *PROVENANCE)]
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(tuple(row[name] for name in labels), {})
        line[row["quantity"]] = _cell(row)
    cells = [[*key, *(line.get(name, "") for name in quantities)] for key, line in lines.items()]
    return "\n".join(markdown([*labels, *quantities], cells))


def _cell(row: dict[str, str]) -> str:
    if row["low"] == row["high"]:
        return row["value"]
    return f"{row['value']} ({row['low']} to {row['high']})"
