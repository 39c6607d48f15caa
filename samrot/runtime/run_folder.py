"""A run folder: the resolved settings of a run beside its results, so that it can be continued."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import torch
import yaml

from samrot.errors import InputError
from samrot.files import load_torch, load_yaml, save_torch, write_text
from samrot.runtime.locks import LOCK_FILE, alone_in

_CONFIG = "config.yaml"
_INPUTS = "inputs.json"
_STATE = "state.pt"
TRAINED_ON = "trained_on.json"  # fingerprints of photos
_WHERE = ("out", "executor", "devices", "nodes", "workers", "report")
# Files that a run may have written, whole or not, before its config says that it is one.
_OWN_BEFORE_CONFIG = (
    LOCK_FILE,
    "environment.json",
    "environment.json.partial",
    f"{_CONFIG}.partial",
)
_BEFORE_WORK = (*_OWN_BEFORE_CONFIG, _CONFIG, _INPUTS, TRAINED_ON)
_PACKAGES = ("samrot", "torch", "torchvision", "numpy", "opencv-python-headless", "pycocotools")


class RunFolder:
    """One run on disk. Every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def is_one(path: str | Path) -> bool:
        """Whether a run was begun in that folder."""
        return (Path(path) / _CONFIG).is_file()

    @property
    def is_of_old_version(self) -> bool:
        """Whether samrot 0.1.0 began the evaluation: it knew of one task only."""
        config = self._read(_CONFIG, load_yaml)
        return "methods" in config and "task" not in config

    @classmethod
    def open(
        cls, path: str | Path, settings: Any, *, may_grow: Mapping[str, str | None] | None = None
    ) -> RunFolder:
        """Create the folder, or enter the one of an earlier run with the same settings.

        One in which nothing was done yet, since the run was refused or killed, takes any.

        Args:
            path: path of the run folder.
            settings: a dataclass; written as ``config.yaml``. Where it runs (``out``, ``executor``,
                ``devices``, ``nodes``, ``workers``) does not count, nor whether there is a
                ``report``.
            may_grow: numbers among the settings, as ``limit``, that may be larger than in the
                earlier run (None is larger than all), since that adds work at the end -> None; or
                what stands against it, for the message.

        Raises:
            InputError: if the folder holds another run, or something else, or its config is
                damaged.
        """
        run, may_grow = cls(Path(path)), may_grow or {}
        config = json.loads(json.dumps(asdict(settings)))
        if cls.is_one(path):
            stored = run._read(_CONFIG, load_yaml)
            known = _settings_of_the_work(_with_defaults(stored, type(settings)))
            changed = sorted(_differences(known, _settings_of_the_work(config)))
            remarks = [
                remark
                for name in changed
                if (remark := _refused(name, _entry(known, name), _entry(config, name), may_grow))
            ]
            if changed and not run._is_begun:
                with run.held():
                    for name in (_INPUTS, TRAINED_ON):
                        (run.path / name).unlink(missing_ok=True)
            elif set(changed) - may_grow.keys() or remarks:
                raise InputError(
                    f"out {run.path} holds a run with other settings "
                    f"({', '.join(changed)}){''.join(remarks)}; "
                    "choose another folder, or the same settings to continue it"
                )
            if changed:
                run._write_config(config)
        elif run.path.exists() and (not run.path.is_dir() or _content(run.path)):
            raise InputError(
                f"out {run.path} exists and holds no samrot run; choose a new or empty folder"
            )
        else:
            run.path.mkdir(parents=True, exist_ok=True)
            run.write_json("environment.json", describe_environment())
            run._write_config(config)
        return run

    @property
    def _is_begun(self) -> bool:
        """Whether there is work in the folder, that other settings would not have done."""
        return any(path.name not in _BEFORE_WORK for path in self.path.iterdir())

    def _write_config(self, config: dict[str, Any]) -> None:
        self.write_text(_CONFIG, yaml.safe_dump(config))

    def held(self, *, by_this_process: bool = True) -> AbstractContextManager[None]:
        """Keep other runs out for the time of a block.

        Args:
            by_this_process: False in all but one of the processes of a run.

        Raises:
            InputError: if another run is in the folder.
        """
        return alone_in(self.path) if by_this_process else nullcontext()

    def check_inputs(
        self, files: Mapping[str, str | Path | None], *, finished: bool = False
    ) -> None:
        """Refuse to go on with input files that are not what the run began with.

        Args:
            files: setting -> file; folders, names and None are passed over. What the run has not
                seen yet is noted in ``inputs.json``, as SHA-256.
            finished: the run is over, and nothing is noted.

        Raises:
            InputError: naming the file that changed.
        """
        there = (self.path / _INPUTS).is_file()
        known: dict[str, str] = self._read(_INPUTS, json.loads) if there else {}
        digests = {
            setting: _sha256(Path(file))
            for setting, file in files.items()
            if file is not None and Path(file).is_file()
        }
        for setting, digest in digests.items():
            if known.get(setting, digest) != digest:
                raise InputError(
                    f"{setting} {files[setting]} is not the file that the run in {self.path} began "
                    "with; choose another out, or restore the file"
                )
        if digests.keys() - known.keys() and not finished:
            self.write_json(_INPUTS, {**known, **digests})

    def write_text(self, name: str, text: str) -> None:
        """Write a file atomically."""
        write_text(self.path / name, text)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically; NaN is refused."""
        self.write_text(name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file that is made again where it is missing or torn, which gives None."""
        try:
            content = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def log(self, row: dict[str, object]) -> None:
        """Add a row to ``log.csv``; rows of this step and later ones, of a killed run, make way.

        So do rows that are torn.
        """
        path = self.path / "log.csv"
        rows: list[dict[str, object]] = []
        if path.exists():
            before = int(str(row["step"]))
            lines = path.read_text(errors="replace").replace("\0", "").splitlines()
            rows = [old for old in csv.DictReader(lines) if _step(old) < before]
        text = io.StringIO()
        names = list(dict.fromkeys(name for each in [*rows, row] for name in each))
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows([*rows, row])
        self.write_text("log.csv", text.getvalue())

    def save(self, step: int, **parts: Any) -> None:
        """Write the training state (anything with ``state_dict``) atomically."""
        state = {name: part.state_dict() for name, part in parts.items()}
        save_torch(self.path / _STATE, {"step": step, **state})

    def restore(self, **parts: Any) -> int:
        """Load the training state, if there is one, into ``parts``; the step to go on from.

        Raises:
            InputError: if it is damaged.
        """
        path = self.path / _STATE
        if not path.exists():
            return 0
        remedy = "restore it, or remove it to train from the first step"
        state = load_torch(path, remedy)
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            return int(state["step"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"{path} is not of this training ({reason}); {remedy}") from error

    def _read(self, name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
        """An object in a file that the run cannot do without."""
        content = None
        with suppress(ValueError, RecursionError, yaml.YAMLError):
            content = parse((self.path / name).read_text())
        if not isinstance(content, dict):
            raise InputError(
                f"{self.path / name} is damaged, and the run cannot go on without; restore the "
                "file, or choose another out"
            )
        return content


def describe_environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "git": _git_revision(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": packages,
    }


def _step(row: Mapping[Any, Any]) -> float:
    """The step of a row of ``log.csv``; infinite where it is torn."""
    torn = None in row or None in row.values() or not str(row.get("step")).isdecimal()
    return math.inf if torn else int(row["step"])


def _entry(config: Any, name: str) -> Any:
    for key in name.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _refused(
    name: str, old: float | None, new: float | None, may_grow: Mapping[str, str | None]
) -> str:
    """Why a setting that may grow may not change so; empty if it may, or if nothing is to say."""
    if name not in may_grow:
        return ""
    if (obstacle := may_grow[name]) is not None:
        return f"; {obstacle}"
    grows = old is not None and (new is None or new > old)
    return "" if grows else f"; {name}, which was {'all' if old is None else old}, may only grow"


def _content(folder: Path) -> list[Path]:
    """What is in a folder, but for what was left by a start that was interrupted."""
    return [path for path in folder.iterdir() if path.name not in _OWN_BEFORE_CONFIG]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _git_revision() -> str | None:
    """Commit of the samrot checkout that runs, ``-dirty`` if changed; None outside of one."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _settings_of_the_work(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that say what is run, without those that say where."""
    return {k: v for k, v in config.items() if k not in _WHERE}


def _with_defaults(stored: Any, settings_class: Any) -> Any:
    """A stored config, in which settings that an older version did not know have their defaults."""
    if not (isinstance(stored, dict) and is_dataclass(settings_class)):
        return stored
    known, types = dict(stored), get_type_hints(settings_class)
    for field in fields(settings_class):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name in stored:
            known[field.name] = _with_defaults(stored[field.name], types[field.name])
        elif default is not MISSING:
            known[field.name] = asdict(default) if is_dataclass(default) else default  # type: ignore[arg-type]
    return json.loads(json.dumps(known))


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
