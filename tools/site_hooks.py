"""What the site makes of the documents: their mentions of each other become links."""

from __future__ import annotations

import re
from typing import Any

# Beside docs/, so that a page of the site cannot link there.
_MENTION = re.compile(r"`docs/([a-z-]+\.md)`")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs with each page."""
    return _MENTION.sub(r"[\1](\1)", markdown)
