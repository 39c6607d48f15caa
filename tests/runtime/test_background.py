"""Stages that overlap."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from samrot.runtime.background import in_background


def test_results_come_in_order() -> None:
    assert list(in_background(lambda x: x * x, range(20), 3)) == [x * x for x in range(20)]
    assert list(in_background(lambda x: x, [], 3)) == []


def test_the_thread_works_while_the_reader_does() -> None:
    """The third item is begun before the first result is read: else this waits for ever."""
    begun = [threading.Event() for _ in range(3)]

    def work(item: int) -> int:
        begun[item].set()
        return item

    results = in_background(work, range(3), 2)
    assert next(results) == 0
    assert begun[2].wait(10)
    assert list(results) == [1, 2]


def test_no_more_items_are_taken_than_asked_for() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    results = in_background(lambda x: x, items(), 2)
    next(results)
    assert taken == [0, 1, 2]


def test_an_error_comes_in_its_turn() -> None:
    results = in_background(lambda x: 6 // x, [3, 2, 0, 1], 4)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_what_was_begun_is_finished_when_the_reader_fails() -> None:
    finished = []

    def items() -> Iterator[int]:
        yield from range(3)
        raise RuntimeError("the reader failed")

    with pytest.raises(RuntimeError, match="the reader failed"):
        list(in_background(finished.append, items(), 5))
    assert finished == [0, 1, 2]
