"""Work in batches as large as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

Result = TypeVar("Result")


def in_batches(run: Callable[[slice], Result], total: int, size: int) -> Iterator[Result]:
    """Results of consecutive slices of ``total`` items, as they are asked for.

    There is one, of no items, where ``total`` is 0. Where memory does not suffice for a batch, it
    and those after it are halved.

    Raises:
        RuntimeError: if it does not suffice for one item.
    """
    start = 0
    while start < max(total, 1):
        try:
            result = run(slice(start, start + size))
        except RuntimeError as error:
            size = min(size, total - start) // 2
            if size < 1 or not _out_of_memory(error):
                raise
            continue
        yield result
        start += size


def _out_of_memory(error: RuntimeError) -> bool:
    """Of a GPU, or of the CPU's allocator, which has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
