"""One process or many, on one machine or several (Lightning Fabric)."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from samrot.errors import InputError
from samrot.runtime.locks import die_with_parent

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SHARED = "SAMROT_SHARED_FOLDER"  # environment variable: where the processes of a run meet
_FIRST = "SAMROT_FIRST_PROCESS"  # environment variable: id of the process that starts the others
_FAILED = "failed"  # file in it, made by the first to fail
_WATCH_SECONDS = 0.1
# How long the first to finish its share waits for the last; one that dies is noticed at once.
_SLOWEST = timedelta(days=7)
_is_first = False  # of those that failed
_global_rank = 0


def launch(device: str, devices: int = 1, nodes: int = 1) -> Fabric:
    """Start, or join, the processes of a run.

    With more than one process the same command is started again for each of the others; under
    ``torchrun``, which starts them itself, nothing is. A process that fails takes the others down,
    and says why: the others say nothing (``is_first_to_fail``). The first alone prints results.

    Args:
        device: cpu, cuda, cuda:N (one process only), mps, or auto.
        devices: processes on this machine.
        nodes: machines; with more than one, start samrot by ``torchrun``.

    Raises:
        InputError: if this machine has no such devices.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    global _global_rank
    if min(devices, nodes) < 1:
        raise InputError(f"devices is {devices} on {nodes} nodes; expected at least 1 of each")
    kind, _, index = device.partition(":")
    if index and devices > 1:
        raise InputError(
            f"device is {device!r} with {devices} devices; expected {kind!r} for more than one"
        )
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=[int(index)] if index else devices,
            num_nodes=nodes,
            strategy=(
                DDPStrategy(find_unused_parameters=True, timeout=_SLOWEST)
                if devices * nodes > 1
                else "auto"
            ),
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"device is {device!r} with {devices} devices; expected what this machine has "
            f"({error}); samrot doctor lists it"
        ) from error
    alone = devices == 1 or os.environ.get("TORCHELASTIC_RUN_ID")  # or torchrun sees to them
    if not alone:
        if _SHARED not in os.environ:
            _share_failures()
        elif (first := int(os.environ[_FIRST])) != os.getpid():
            # Also while it waits for the others.
            die_with_parent(first, partial(_forget, os.environ[_SHARED]))
    fabric.launch()
    _global_rank = fabric.global_rank
    if fabric.global_rank:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    return fabric


def is_first_process() -> bool:
    """Whether this is the process of the run that speaks for all of them."""
    return _global_rank == 0


def is_first_to_fail() -> bool:
    """Whether no other process of this run has failed before this one, which then says why."""
    global _is_first
    if (failed := _failed_file()) is None or _is_first:
        return True
    _is_first = True  # before the file is there, which is watched
    try:
        failed.touch(exist_ok=False)
    except OSError:
        _is_first = False
        return False
    if os.environ.get("LOCAL_RANK", "0") != "0":
        sys.stderr.write("\n")  # out of the progress bar of the first process
    return True


def another_failed() -> bool:
    """Whether another process of this run has failed, and said why, or the first has ended."""
    failed = _failed_file()
    return failed is not None and not _is_first and (failed.exists() or not failed.parent.exists())


def _failed_file() -> Path | None:
    """What the first process to fail makes; None where there is but one process."""
    folder = os.environ.get(_SHARED)
    return None if folder is None else Path(folder) / _FAILED


def _share_failures() -> None:
    """Make the place where the processes of a run tell each other, and end with the others."""
    folder = tempfile.mkdtemp(prefix="samrot_")
    atexit.register(_forget, folder)
    os.environ[_SHARED], os.environ[_FIRST] = folder, str(os.getpid())
    failed = Path(folder) / _FAILED

    def watch() -> None:
        while not failed.exists():
            time.sleep(_WATCH_SECONDS)
        if not _is_first:
            _forget(folder)
            os._exit(2)  # what this process waits for would never come

    threading.Thread(target=watch, name="watch the others", daemon=True).start()


def _forget(folder: str) -> None:
    """Remove the place, which another process may do too."""
    shutil.rmtree(folder, ignore_errors=True)
