"""Workers that die or refuse; importing them is quick, as each process of Ray's does it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samrot.errors import InputError


@dataclass(frozen=True)
class Number:
    value: int

    def failure(self, reason: str) -> dict[str, Any]:
        return {"id": self.value, "failed": reason}


class DyingWorker:
    """Squares numbers; dies at 3 the first time, and at 5 whenever it comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, items: Sequence[Number], write: Callable[[dict[str, Any]], None]) -> None:
        for item in items:
            died = self.folder / f"died_at_{item.value}"
            if item.value == 5 or (item.value == 3 and not died.exists()):
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            write({"id": item.value, "square": item.value**2})


def refuse(device: str, rank: int) -> Any:
    raise InputError(f"no model for {device}")
