"""Fill the tables of the documents from the files that hold their numbers.

python tools/fill_tables.py [--check] docs/results.md ...

A table of measured numbers is a CSV in docs/results, and stands in a document under a comment that
names it: ``<!-- docs/results/NAME.csv -->``. This writes what the files say under each of them.
--check writes nothing, and exits with 1 if a document says something else.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from samrot.evaluation.table import markdown
from samrot.files import write_text

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"<!-- (docs/results/[\w.-]+\.csv) -->\n(?:\|.*\n)*")


def table(path: Path) -> str:
    """A CSV as a markdown table."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return "".join(f"{line}\n" for line in markdown(header, rows))


def filled(text: str) -> str:
    """A document with its tables as the files have them."""
    return PLACE.sub(lambda place: f"<!-- {place[1]} -->\n{table(ROOT / place[1])}", text)


def main() -> int:
    """Fill or check the documents that are named; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("documents", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for path in options.documents:
        text = path.read_text()
        new = filled(text)
        if new != text:
            stale.append(path)
            if not options.check:
                write_text(path, new)
    for path in stale:
        print(f"{path} {'does not say what its files say' if options.check else 'was filled'}")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
