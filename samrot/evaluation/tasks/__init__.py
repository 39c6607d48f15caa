"""The tasks that can be evaluated: one file a task, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from samrot.evaluation.tasks.classification import ClassificationTask
from samrot.evaluation.tasks.pointcloud import PointCloudTask
from samrot.evaluation.tasks.segmentation import SegmentationTask
from samrot.runtime.records import Record


class Task(Protocol):
    """What the runner asks of a task.

    Args:
        settings: settings of the run, of ``settings_class``.
        dataset: what ``settings.data.load()`` gave.
        device: device of the models.
    """

    settings_class: ClassVar[type]
    item: ClassVar[str]  # what a record is of, as in ``image_id``
    part: ClassVar[str]  # what a model is asked about, many times a record

    def __init__(self, settings: Any, dataset: Any, device: str) -> None: ...

    @staticmethod
    def items(dataset: Any, settings: Any) -> list[int]:
        """Ids of what is evaluated; checked."""
        ...

    @staticmethod
    def is_whole(summary: dict[str, Any], item_ids: list[int], settings: Any) -> bool:
        """Whether the summary of an earlier run holds all that is asked for now."""
        ...

    @staticmethod
    def table(summary: dict[str, Any]) -> str:
        """The summary, for a person."""
        ...

    def run(self, item_ids: Sequence[int], write: Callable[[Record], None], /) -> None:
        """Evaluate items, in order, and write a record of each."""
        ...

    @staticmethod
    def texts(summary: dict[str, Any]) -> dict[str, str]:
        """Files of the run folder that say the same: name -> content."""
        ...

    @staticmethod
    def report(
        summary: dict[str, Any], records: Iterable[Record], dataset: Any, folder: Path, /
    ) -> str:
        """The run in that folder as one page of HTML."""
        ...

    @staticmethod
    def num_parts(record: Record) -> int:
        """How many times a model was asked for it: for each box, or cloud, of each view."""
        ...

    def close(self) -> None:
        """Let the models go."""
        ...

    def summarise(
        self, records: Iterable[Record], item_ids: list[int], folder: Path, /
    ) -> dict[str, Any]:
        """From the records, by id, to the content of ``summary.json``; called after ``close``."""
        ...


TASKS: dict[str, type[Task]] = {
    "segmentation": SegmentationTask,
    "classification": ClassificationTask,
    "pointcloud": PointCloudTask,
}

__all__ = ["TASKS", "Task"]
