"""``samrot evaluate``: run, or continue, an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samrot.evaluation.settings import RunSettings
from samrot.evaluation.tasks import TASKS
from samrot.runtime.records import RecordStore
from samrot.runtime.runner import Job, run_job


def evaluate(settings: RunSettings) -> dict[str, Any]:
    """Run, or continue, an evaluation; several processes share the work.

    A finished one is read from its folder, and no model is loaded.

    Args:
        settings: settings of a task, of its ``settings_class``.

    Returns:
        What ``summary.json`` holds.

    Raises:
        InputError: if settings or data are unusable; what is done stays done.
    """
    task_class: Any = TASKS[settings.task]
    dataset = settings.data.load()
    item_ids = task_class.items(dataset, settings)

    def summarise(task: Any, records: RecordStore, folder: Path) -> dict[str, Any]:
        summary: dict[str, Any] = task.summarise(records, item_ids, folder)
        return summary

    return run_job(
        Job(
            name="evaluate",
            unit=task_class.item,
            settings=settings,
            items={item_id: item_id for item_id in item_ids},
            id_key=f"{task_class.item}_id",
            build=lambda device, rank: task_class(settings, dataset, device),
            is_whole=lambda summary: task_class.is_whole(summary, item_ids, settings),
            summarise=summarise,
            texts=task_class.texts,
            input_files=settings.input_files(),
            may_grow=settings.may_grow,
            num_parts=task_class.num_parts,
            part=task_class.part,
        )
    )
