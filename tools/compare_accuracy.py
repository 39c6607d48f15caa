"""Accuracies of evaluations of several seeds side by side, and their paired differences.

python tools/compare_accuracy.py --row "prior" canonical RUN RUN RUN --row "LC" canonical RUN ...

A row is a name, a method, and finished runs of ``samrot evaluate --task classification`` or
``pointcloud`` on the same data, one for each seed. What is shown is the mean over the seeds with
its 95 % interval, by resampling photos (or clouds) and seeds; then how far each row is above each
later one, whose photos are resampled alike.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from studies.numbers import Sample, over_seeds, with_interval

from samrot.errors import InputError
from samrot.evaluation.table import markdown
from samrot.runtime.records import Record, RecordStore

RESAMPLES = 1000
AVERAGE = "average"  # over the views of photos; clouds have scenarios instead


def shares(record: Record, method: str) -> dict[str, float]:
    """Share of right answers by view, and on average; or by scenario."""
    results = record["methods"][method]
    if "label" not in record:
        return {name: float(np.mean(result["correct"])) for name, result in results.items()}
    right = {view: float(r["predicted"] == record["label"]) for view, r in results.items()}
    return {**right, AVERAGE: float(np.mean([*right.values()]))}


def read_run(run: Path, method: str) -> dict[str, np.ndarray]:
    """View or scenario -> (N,) shares of right answers.

    Raises:
        InputError: if it is no finished run with that method.
    """
    records = RecordStore(run, None)
    if not records.is_merged:
        raise InputError(f"{run} is no finished run of samrot evaluate; run it to its end first")
    try:
        rows = [shares(record, method) for record in records]
    except KeyError as error:
        raise InputError(f"{run} has no {error}; expected accuracies of {method!r}") from error
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def show(drawn: np.ndarray) -> str:
    """(1 + R,) values as the first and its interval."""
    value, low, high = with_interval(drawn)
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def main() -> int:
    """Compare what is asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--row", nargs="+", action="append", required=True)
    rows = parser.parse_args().row
    if any(len(row) < 3 for row in rows):
        parser.error("a row is a name, a method, and at least one run")
    try:
        runs = {row[0]: [read_run(Path(run), row[1]) for run in row[2:]] for row in rows}
    except InputError as error:
        print(f"compare_accuracy: {error}", file=sys.stderr)
        return 2
    first = next(iter(runs.values()))[0]
    last = [*first][-1]  # the average, or SO(3)
    lengths = {len(run[last]) for of_row in runs.values() for run in of_row}
    if len(lengths) > 1:
        print(f"compare_accuracy: runs are of {sorted(lengths)} items; expected the same in all",
              file=sys.stderr)  # fmt: skip
        return 2
    sample = Sample(lengths.pop(), RESAMPLES)
    found = {
        name: {
            column: over_seeds(np.stack([sample.mean(run[column]) for run in of_row]))
            for column in first
            if all(column in run for run in of_row)
        }
        for name, of_row in runs.items()
    }
    cells = [[n, *(show(of[c]) if c in of else "" for c in first)] for n, of in found.items()]
    print("\n".join(markdown(["row", *first], cells)), end="\n\n")
    pairs = [
        [f"{one} - {other}", show(found[one][last] - found[other][last])]
        for one, other in itertools.combinations(found, 2)
    ]
    print("\n".join(markdown(["difference", last], pairs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
