"""The errors that samrot raises on bad input."""

from __future__ import annotations

import math
from collections.abc import Collection


class InputError(ValueError):
    """Bad input. The message is one line: the value, what was expected, the remedy."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class NoImageError(InputError, RuntimeError):
    """Something was asked of an image before one was set."""


def check_range(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a number that is not finite, or not from ``least`` to ``most``.

    Raises:
        InputError: naming the setting, the value and the range.
    """
    if isinstance(value, bool) or not math.isfinite(value) or not least <= value <= most:
        limits = f"at least {least:g}"
        if math.isfinite(most):
            limits += f" and at most {most:g}"
        raise InputError(f"{name} is {value}; expected a number of {limits}")


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuse ``value`` unless it is one of ``choices``.

    Raises:
        InputError: naming the setting, the value and the choices.
    """
    if value not in choices:
        expected = ", ".join(str(choice) for choice in choices)
        raise InputError(f"{name} is {value!r}; expected one of: {expected}")
