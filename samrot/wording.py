"""Words of messages: numbers of things, and what a mistyped word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 photo``, ``2 photos``; the plural where it is not the noun and an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to end a message with, or nothing if no known word is near.

    A setting of another group that has the same name is nearer than any other.
    """
    known = list(known)
    of_same_name = [each for each in known if _last_part(each) == _last_part(word)]
    near = difflib.get_close_matches(word, of_same_name, n=1, cutoff=0)
    near = near or difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _last_part(word: str) -> str:
    return word.lstrip("-").rpartition(".")[2]
