"""A run folder: the resolved settings of a run beside its results, so that it can be continued."""

from __future__ import annotations

import csv
import json
import os
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from samrot.errors import InputError

_STATE = "state.pt"
_PACKAGES = ("samrot", "torch", "torchvision", "numpy", "opencv-python-headless", "pycocotools")


class RunFolder:
    """One run on disk. Every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path, settings: Any) -> RunFolder:
        """Create the folder, or enter the one of an earlier run with the same settings.

        Args:
            path: of the run folder.
            settings: a dataclass; written as ``config.yaml``. Its ``out`` does not count.

        Raises:
            InputError: if the folder holds another run, or something else.
        """
        run = cls(Path(path))
        config = asdict(settings)
        config.pop("out", None)
        config_path = run.path / "config.yaml"
        if config_path.is_file():
            stored = yaml.safe_load(config_path.read_text())
            if stored != json.loads(json.dumps(config)):
                changed = sorted(_differences(stored, json.loads(json.dumps(config))))
                raise InputError(
                    f"out {run.path} holds a run with other settings ({', '.join(changed)}); "
                    "choose another folder, or the same settings to continue it"
                )
        elif run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise InputError(
                f"out {run.path} exists and holds no samrot run; choose a new or empty folder"
            )
        else:
            run.path.mkdir(parents=True, exist_ok=True)
            run.write_json("environment.json", describe_environment())
            run.write_text("config.yaml", yaml.safe_dump(json.loads(json.dumps(config))))
        return run

    def write_text(self, name: str, text: str) -> None:
        """Write a file atomically."""
        partial = self.path / f"{name}.partial"
        partial.write_text(text)
        os.replace(partial, self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically; NaN is refused."""
        self.write_text(name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def log(self, row: dict[str, object]) -> None:
        """Append a row to ``log.csv``."""
        path = self.path / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row.keys())
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def save(self, step: int, **parts: Any) -> None:
        """Write the training state (anything with ``state_dict``) atomically."""
        state = {name: part.state_dict() for name, part in parts.items()}
        partial = self.path / f"{_STATE}.partial"
        torch.save({"step": step, **state}, partial)
        os.replace(partial, self.path / _STATE)

    def restore(self, **parts: Any) -> int:
        """Load the training state, if there is one, into ``parts``; the step to go on from."""
        path = self.path / _STATE
        if not path.exists():
            return 0
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])


def describe_environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": packages,
    }


def _differences(stored: Any, config: Any, prefix: str = "") -> list[str]:
    if not (isinstance(stored, dict) and isinstance(config, dict)):
        return [] if stored == config else [prefix]
    keys = stored.keys() | config.keys()
    return [
        name
        for key in keys
        for name in _differences(
            stored.get(key), config.get(key), f"{prefix}.{key}" if prefix else key
        )
    ]
