"""``samrot evaluate``: run, or continue, an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samrot.evaluation.report.page import REPORT_FILE
from samrot.evaluation.settings import RunSettings
from samrot.evaluation.tasks import TASKS
from samrot.files import write_text
from samrot.runtime.processes import is_first_process
from samrot.runtime.records import RecordStore
from samrot.runtime.runner import SUMMARY, Job, run_job


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

    summary = run_job(
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
    store = RecordStore(Path(settings.out), item_ids, id_key=f"{task_class.item}_id")
    if is_first_process() and store.is_merged:  # 0.1.0 had records of another name
        _keep_report(task_class, summary, store, dataset, settings)
    return summary


def _keep_report(
    task_class: Any,
    summary: dict[str, Any],
    store: RecordStore,
    dataset: Any,
    settings: RunSettings,
) -> None:
    """Make the page of a run, if it is wanted, and none, or that of fewer photos, is there."""
    path = store.folder / REPORT_FILE
    finished = (store.folder / SUMMARY).stat().st_mtime_ns
    if path.is_file() and path.stat().st_mtime_ns >= finished:
        return
    path.unlink(missing_ok=True)
    if settings.report:
        write_text(path, task_class.report(summary, store, dataset, store.folder))
