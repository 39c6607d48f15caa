"""What the study varies: files in ``configs/study``, one an item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def read_settings(name: str) -> dict[str, Any]:
    """What an item varies, and what was learned of it on the photos that the project reports."""
    file = ROOT / "configs" / "study" / f"{name}.yaml"
    settings: dict[str, Any] = yaml.safe_load(file.read_text())
    return settings


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes: groups of settings are merged, but ``options`` replaced.

    Options are those of one architecture, and would be unknown to another.
    """
    result = dict(settings)
    for name, value in changes.items():
        old = settings.get(name)
        both = isinstance(old, dict) and isinstance(value, dict) and name != "options"
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result
