"""The errors that samrot raises on bad input."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real


class InputError(ValueError):
    """Bad input. The message is one line: the value, what was expected, the remedy."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class NoImageError(InputError, RuntimeError, AttributeError):
    """Something was asked of an image before one was set; ``hasattr`` takes it for what it is."""


def check_range(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a number that is not finite, or not from ``least`` to ``most``.

    Raises:
        InputError: naming the setting, the value and the range.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not least <= value <= most or value == math.inf:
        raise InputError(f"{name} is {value}; expected a number of {_limits(least, most)}")


def check_count(name: str, value: int, least: int, most: float = math.inf) -> None:
    """Refuse what is no whole number, or not from ``least`` to ``most``.

    Raises:
        InputError: naming the setting, the value and the range.
    """
    check_range(name, value, least, most)
    if not isinstance(value, Integral):
        raise InputError(f"{name} is {value}; expected a whole number of {_limits(least, most)}")


def _limits(least: float, most: float) -> str:
    return f"at least {least:g}" + (f" and at most {most:g}" if math.isfinite(most) else "")


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuse ``value`` unless it is one of ``choices``.

    Raises:
        InputError: naming the setting, the value and the choices.
    """
    if value not in list(choices):  # a list takes values that have no hash
        expected = ", ".join(str(choice) for choice in choices)
        raise InputError(f"{name} is {value!r}; expected one of: {expected}")
