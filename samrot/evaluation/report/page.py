"""The page itself: sections of text, pictures and tables, in one file that needs no other."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from samrot.evaluation.table import format_cell

REPORT_FILE = "report.html"
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A picture that is part of the page.

    Args:
        data_uri: the file, as a ``data:`` URI.
        caption: what it shows; the text in its place, too.
    """

    data_uri: str
    caption: str

    @classmethod
    def of_image(cls, image: np.ndarray, caption: str) -> Picture:
        """A photo, (H, W, 3) uint8 RGB, as a JPEG."""
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=_JPEG_QUALITY)
        return cls(data_uri("image/jpeg", file.getvalue()), caption)


@dataclass(frozen=True)
class PageTable:
    """A table of the page.

    Args:
        header: names of the columns.
        rows: numbers, texts, or None where there is nothing.
        folded: line that it hides behind until it is clicked; None shows it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: str | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page, in the order text, pictures, tables, verbatim text."""

    title: str
    lines: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[PageTable] = ()
    verbatim: str = ""


def render_page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page as HTML; nothing in it is asked of a network, and nothing in it runs.

    Args:
        title: heading.
        lead: a line below it.
        sections: parts, of which empty ones are left out.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = _cell
    template = environment.from_string(Path(__file__).with_name("page.html").read_text())
    filled = [s for s in sections if s.lines or s.pictures or s.tables or s.verbatim]
    return template.render(title=title, lead=lead, sections=filled)


def data_uri(kind: str, content: bytes) -> str:
    """A file of that media type as a URI that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, int) else format_cell(value)
