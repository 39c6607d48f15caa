"""What is said to a person on standard error, beside the progress bars."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def say(message: str) -> None:
    """Write one line, whatever is in names of files."""
    tqdm.write("samrot: " + " ".join(message.split()), file=sys.stderr)


def say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Write a warning in one line, as ``warnings.showwarning``."""
    say(f"warning: {message}")
