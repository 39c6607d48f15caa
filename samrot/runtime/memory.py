"""Memory of this machine: what is free, what some work takes, and batches that would not fit.

Linux ends a process that takes too much of it without a word, so that batches are checked before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from samrot.errors import InputError

SAMPLE = 4  # items that say what one takes
UNCHECKED = 8  # so many together, in a process, are never too many
SHARE = 0.8  # of what is free, that a batch may take: what is made of it takes some too
# Limit of a container, of cgroups 2 and 1; a word, or a huge number, where there is none.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_batch(name: str, size: int, needed: float, otherwise: str = "") -> None:
    """Refuse a batch for which there is not enough memory.

    Args:
        name: the setting.
        size: its value.
        needed: bytes that the batch takes.
        otherwise: another remedy, "do this, or ".

    Raises:
        InputError: naming a value that fits.
    """
    free = free_bytes()
    if free is not None and needed > SHARE * free:
        fitting = max(1, int(size * SHARE * free / needed))
        raise InputError(
            f"{name} is {size}, which takes about {needed / 2**30:.1f} GiB of the "
            f"{free / 2**30:.1f} GiB of memory that are free; {otherwise}set it to {fitting} or "
            "less"
        )


def bytes_of_each(work: Callable[[], object]) -> float | None:
    """Bytes that ``work``, on ``SAMPLE`` items, takes at its peak for one; None where unknown."""
    before = _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    except OSError:
        return None
    work()
    peak = _status("VmHWM")
    return None if before is None or peak is None else max(0, peak - before) / SAMPLE


def free_bytes() -> int | None:
    """Memory that this process may still take, here and in its container; None where unknown."""
    available, own = _kilobytes("/proc/meminfo", "MemAvailable"), _status("VmRSS") or 0
    found = [] if available is None else [available]
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            found.append(max(0, int(Path(path).read_text()) - own))
    return min(found, default=None)


def _status(field: str) -> int | None:
    return _kilobytes("/proc/self/status", field)


def _kilobytes(path: str, field: str) -> int | None:
    """A field of a file such as ``/proc/meminfo``, in bytes."""
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None
