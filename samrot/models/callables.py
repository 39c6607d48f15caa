"""Models of the user's own, named as ``module:callable``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from samrot.errors import InputError


def import_callable(setting: str, name: str, meaning: str) -> Callable[..., Any]:
    """Import a callable, from the current folder too.

    Args:
        setting: name of the setting, for messages.
        name: ``module:callable``.
        meaning: what it is to be, as ``image -> Detections``.

    Raises:
        InputError: if there is no such thing.
    """
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # a module of the user may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{setting} {name!r} cannot be imported ({reason}); expected module:callable, "
            "with the module in the current folder or installed"
        ) from error
    if not callable(found):
        raise InputError(f"{setting} {name!r} is not callable; expected {meaning}")
    imported: Callable[..., Any] = found
    return imported
