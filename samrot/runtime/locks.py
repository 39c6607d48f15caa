"""One run at a time in a folder, and no process that outlives the run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from samrot.errors import InputError

LOCK_FILE = ".lock"
_WATCH_SECONDS = 0.2


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder that exists for the time of the block; a process that is killed lets it go.

    Raises:
        InputError: if another process, or another run of this one, holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"out {folder} is in use by another samrot that still runs; wait for it, or choose "
            "another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def die_with_parent(parent: int, clean_up: Callable[[], object]) -> None:
    """End this process as soon as the one that started it is gone, ``kill -9`` included.

    Args:
        parent: its process id, which the parent tells, for it may be gone already.
        clean_up: is called before the end, since the parent can no longer.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        clean_up()
        os._exit(1)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
