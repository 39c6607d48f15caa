"""Stages of a run that overlap: each in a thread of its own, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_background(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2
) -> Iterator[Result]:
    """``map`` by one thread, which works ahead of whoever reads the results.

    What was handed to the thread is finished even if the reader fails; an error of ``function``
    reaches the reader in its turn.

    Args:
        function: called by the thread.
        items: computed by the reader.
        ahead: this many items at most are begun before their results are read.
    """
    with ThreadPoolExecutor(1) as thread:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(thread.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
