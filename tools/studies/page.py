"""The page of the study, from the files of its items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from samrot.files import write_text
from studies.numbers import read_rows, table
from studies.plots import draw
from studies.settings import read_settings

PAGE, FOLDER = "study.md", "study"  # the page, and beside it the files of the items
INTRODUCTION = (
    "Made by `tools/study.py`: a value is a mean over photos, and over seeds where there are "
    "several, with a 95 % interval by resampling both. Settings are in `configs/study`; each "
    "number, with command, commit, photos and seeds, is in the CSV of its part (`docs/study`)."
)


def draw_plot(out: Path, item: str) -> None:
    """Draw the plot of an item beside its CSV, if it has one."""
    if axes := read_settings(item).get("plot"):
        path = out / FOLDER / f"{item}.csv"
        draw(read_rows(path), axes, path.with_suffix(".svg"))


def write_page(out: Path, titles: Mapping[str, str | None]) -> None:
    """Write the page.

    Args:
        out: where the page goes, and the CSVs and plots are in ``study``.
        titles: item -> what it is about, in order; those without a CSV are left out.
    """
    write_text(out / PAGE, show_page(out, titles))


def show_page(out: Path, titles: Mapping[str, str | None]) -> str:
    """The page as markdown."""
    return "\n\n".join(["# When to canonicalize", INTRODUCTION, *_sections(out, titles)]) + "\n"


def _sections(out: Path, titles: Mapping[str, str | None]) -> Iterable[str]:
    for item, title in titles.items():
        path = out / FOLDER / f"{item}.csv"
        if not path.is_file():
            continue
        settings = read_settings(item)
        yield f"## {str(title).splitlines()[0].rstrip('.')}"
        yield settings["learned"].strip()
        if axes := settings.get("plot"):
            yield f"![{axes['y']} over {axes['x']}]({FOLDER}/{item}.svg)"
        yield table(read_rows(path))
