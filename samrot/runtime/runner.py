"""One way to run a command over many items: continued after a kill, shared among processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from samrot.runtime.processes import launch
from samrot.runtime.ray_workers import RayWorkers
from samrot.runtime.records import Record, RecordStore
from samrot.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SUMMARY = "summary.json"
_LOG = logging.getLogger(__name__)


class Worker(Protocol):
    """Does the work of one process: holds the models."""

    def run(self, items: Sequence[Any], write: Callable[[Record], None], /) -> None:
        """Do some items, in order, and write a record of each.

        Raises:
            InputError: if the run cannot go on; what was written stays.
        """
        ...

    def close(self) -> None:
        """Let the models go."""
        ...


class WhereSettings(Protocol):
    """Settings of a run that say where it runs."""

    out: Any
    device: str
    devices: int
    nodes: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command over many items, each with a record of its own.

    Args:
        name: name of the command, beside the progress bar.
        unit: what an item is, in the progress bar.
        settings: settings of the run, a dataclass; they say where it runs too.
        items: id of each item, as in its record -> what the worker is given.
        id_key: key of a record that holds the id.
        build: makes a worker, from a device and the number of the process.
        is_whole: whether the summary of an earlier run holds all that is asked for.
        summarise: from the worker, closed, and the records to the content of ``summary.json``;
            writes whatever else is made of the records. Called in the first process alone.
        texts: files of the run folder that say the same: name -> content.
        input_files: setting -> file, of those whose content is part of what is run.
        may_grow: see ``RunFolder.open``.
        executor: what shares the work, a key of ``EXECUTORS``.
        num_parts: from a record to how many parts it has, whose rate the progress bar shows.
        part: what they are.
    """

    name: str
    unit: str
    settings: WhereSettings
    items: Mapping[Any, Any]
    id_key: str
    build: Callable[[str, int], Worker]
    is_whole: Callable[[dict[str, Any]], bool]
    summarise: Callable[[Worker, RecordStore, Path], dict[str, Any]]
    texts: Callable[[dict[str, Any]], dict[str, str]] = field(default=lambda summary: {})
    input_files: Mapping[str, Any] = field(default_factory=dict)
    may_grow: Mapping[str, str | None] = field(default_factory=dict)
    executor: str = "processes"
    num_parts: Callable[[Record], int] | None = None
    part: str = ""


def _in_processes(job: Job) -> tuple[Fabric, Worker]:
    """This command, started again for each of the others."""
    settings = job.settings
    fabric = launch(settings.device, settings.devices, settings.nodes)
    return fabric, job.build(str(fabric.device), fabric.global_rank)


def _on_ray(job: Job) -> tuple[Fabric, Worker]:
    """One process here, which hands the items to the workers of a Ray cluster."""
    settings = job.settings
    return launch("cpu"), RayWorkers(job.build, settings.device, settings.devices)


# What shares the work of a run -> starts it; the processes here, and the worker of this one.
EXECUTORS: dict[str, Callable[[Job], tuple[Fabric, Worker]]] = {
    "processes": _in_processes,
    "ray": _on_ray,
}


def run_job(job: Job) -> dict[str, Any]:
    """Run, or continue, a job; several processes share the work.

    What has a record is not done again, but for failures. A finished run is read from its folder,
    and no model is loaded.

    Returns:
        What ``summary.json`` holds.

    Raises:
        InputError: if settings or data are unusable; what is done stays done.
    """
    settings = job.settings
    if RunFolder.is_one(settings.out):
        run = RunFolder.open(settings.out, settings, may_grow=job.may_grow)
        if (summary := _summary_of(run, job)) is not None:
            run.check_inputs(job.input_files, finished=True)
            _LOG.info("the run in %s was complete; nothing is run", run.path)
            return summary
    fabric, worker = EXECUTORS[job.executor](job)
    try:
        with fabric.rank_zero_first():
            run = RunFolder.open(settings.out, settings, may_grow=job.may_grow)
        with run.held(by_this_process=fabric.is_global_zero):
            if fabric.is_global_zero:
                run.check_inputs(job.input_files)
            if _summary_of(run, job) is None:
                _run(fabric, run, job, worker)
            summary = run.read_json(SUMMARY)
    finally:
        worker.close()
    assert summary is not None
    return summary


def _run(fabric: Fabric, run: RunFolder, job: Job, worker: Worker) -> None:
    """What remains, and then the summary."""
    store = RecordStore(
        run.path, job.items.keys(), id_key=job.id_key, of_old_version=run.is_of_old_version
    )
    done = store.done()
    fabric.barrier()  # before any process writes, so that all agree on what is left
    remaining = [item for item_id, item in job.items.items() if item_id not in done]
    own = remaining[fabric.global_rank :: fabric.world_size]
    appender = store.appender(fabric.global_rank)
    progress = tqdm(
        desc=job.name, unit=job.unit, initial=len(done), total=len(done) + len(own),
        disable=not fabric.is_global_zero,
    )  # fmt: skip
    start, num_parts = time.perf_counter(), 0
    with progress:

        def write(record: Record) -> None:
            nonlocal num_parts
            appender.append(record)
            if job.num_parts is not None:
                num_parts += job.num_parts(record)
                rate = num_parts / (time.perf_counter() - start)
                progress.set_postfix_str(f"{rate:.1f} {job.part}/s", refresh=False)
            progress.update()

        worker.run(own, write)
    worker.close()  # the summary needs the memory
    fabric.barrier()
    if fabric.is_global_zero:
        start = time.perf_counter()
        store.merge()
        summary = job.summarise(worker, store, run.path)
        if "seconds" in summary:
            summary["seconds"]["score"] = round(time.perf_counter() - start, 3)
        for name, text in job.texts(summary).items():
            run.write_text(name, text)
        run.write_json(SUMMARY, summary)
    fabric.barrier()


def _summary_of(run: RunFolder, job: Job) -> dict[str, Any] | None:
    """The summary, if there is one, and of all that is asked for now."""
    summary: dict[str, Any] | None = run.read_json(SUMMARY)
    return summary if summary is not None and job.is_whole(summary) else None
