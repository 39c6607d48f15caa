"""``samrot evaluate``: run, or continue, an evaluation."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from samrot.evaluation.records import Record, RecordStore
from samrot.evaluation.report.page import REPORT_FILE
from samrot.evaluation.settings import RunSettings
from samrot.evaluation.tasks import TASKS, Task
from samrot.runtime.processes import is_first_process, launch
from samrot.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SUMMARY = "summary.json"
_LOG = logging.getLogger(__name__)


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
    task_class = TASKS[settings.task]
    dataset = settings.data.load()
    item_ids = task_class.items(dataset, settings)
    if RunFolder.is_one(settings.out):
        run = RunFolder.open(settings.out, settings, may_grow=settings.may_grow)
        if (summary := _summary_of(run, task_class, item_ids, settings)) is not None:
            run.check_inputs(settings.input_files(), finished=True)
            store = RecordStore(run.path, item_ids, id_key=f"{task_class.item}_id")
            missing = not (run.path / REPORT_FILE).is_file()
            if settings.report and missing and store.is_merged and is_first_process():
                run.write_text(REPORT_FILE, task_class.report(summary, store, dataset, run.path))
            _LOG.info("the run in %s was complete; nothing is run", run.path)
            return summary
    fabric = launch(settings.device, settings.devices, settings.nodes)
    task = task_class(settings, dataset, str(fabric.device))
    with fabric.rank_zero_first():
        run = RunFolder.open(settings.out, settings, may_grow=settings.may_grow)
    with run.held(by_this_process=fabric.is_global_zero):
        if fabric.is_global_zero:
            run.check_inputs(settings.input_files())
        if _summary_of(run, task_class, item_ids, settings) is None:
            _run(fabric, run, task, item_ids, settings)
        summary = run.read_json(_SUMMARY)
    assert summary is not None
    return summary


def _run(
    fabric: Fabric, run: RunFolder, task: Task, item_ids: list[int], settings: RunSettings
) -> None:
    """What remains, and then the summary."""
    store = RecordStore(
        run.path, item_ids, id_key=f"{task.item}_id", of_old_version=run.is_of_old_version
    )
    done = store.done()
    fabric.barrier()  # before any process writes, so that all agree on what is left
    remaining_ids = [item_id for item_id in item_ids if item_id not in done]
    own_ids = remaining_ids[fabric.global_rank :: fabric.world_size]
    appender = store.appender(fabric.global_rank)
    progress = tqdm(
        desc="evaluate", unit=task.item, initial=len(done),
        total=len(done) + len(own_ids), disable=not fabric.is_global_zero,
    )  # fmt: skip
    with progress:

        def write(record: Record) -> None:
            appender.append(record)
            progress.update()

        task.run(own_ids, write)
    task.close()  # scoring needs the memory
    fabric.barrier()
    if fabric.is_global_zero:
        start = time.perf_counter()
        store.merge()
        summary = task.summarise(store, item_ids, run.path)
        summary["seconds"]["score"] = round(time.perf_counter() - start, 3)
        for name, text in task.texts(summary).items():
            run.write_text(name, text)
        if settings.report:
            run.write_text(REPORT_FILE, task.report(summary, store, task.dataset, run.path))
        else:
            (run.path / REPORT_FILE).unlink(missing_ok=True)  # of fewer photos
        run.write_json(_SUMMARY, summary)
    fabric.barrier()


def _summary_of(
    run: RunFolder, task_class: type[Task], item_ids: list[int], settings: RunSettings
) -> dict[str, Any] | None:
    """The summary, if there is one, and of all that is asked for now."""
    summary: dict[str, Any] | None = run.read_json(_SUMMARY)
    if summary is None or not task_class.is_whole(summary, item_ids, settings):
        return None
    return summary
