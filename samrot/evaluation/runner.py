"""``samrot evaluate``: run, or continue, an evaluation."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from samrot.data.coco import CocoDataset
from samrot.errors import MissingFileError
from samrot.evaluation.records import Record, RecordStore
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.summary import summarise
from samrot.evaluation.table import detail_tables, summary_csv, summary_latex, summary_table
from samrot.evaluation.tasks import TASKS
from samrot.evaluation.tasks.segmentation import SegmentationTask
from samrot.runtime.processes import launch
from samrot.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SUMMARY = "summary.json"
_LOG = logging.getLogger(__name__)
SEED = 2310  # of the sample of photos
MAY_GROW = ("limit", "bootstrap")


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Run, or continue, an evaluation; several processes share its photos.

    A finished one is read from its folder, and no model is loaded.

    Returns:
        What ``summary.json`` holds.

    Raises:
        InputError: if settings or data are unusable; photos that are done stay done.
    """
    dataset = settings.data.load()
    image_ids = _choose_photos(dataset, settings)
    _check_photos(dataset, image_ids)
    if RunFolder.is_one(settings.out):
        run = RunFolder.open(settings.out, settings, may_grow=MAY_GROW)
        if (summary := _summary_of(run, image_ids, settings)) is not None:
            run.check_inputs(_input_files(settings), finished=True)
            _LOG.info("the run in %s was complete; nothing is run", run.path)
            return summary
    fabric = launch(settings.device, settings.devices, settings.nodes)
    task = TASKS[settings.task](settings, dataset, str(fabric.device))
    with fabric.rank_zero_first():
        run = RunFolder.open(settings.out, settings, may_grow=MAY_GROW)
    with run.held(by_this_process=fabric.is_global_zero):
        if fabric.is_global_zero:
            run.check_inputs(_input_files(settings))
        if _summary_of(run, image_ids, settings) is None:
            _run(fabric, run, task, dataset, image_ids, settings)
        summary = run.read_json(_SUMMARY)
    assert summary is not None
    return summary


def _run(
    fabric: Fabric,
    run: RunFolder,
    task: SegmentationTask,
    dataset: CocoDataset,
    image_ids: list[int],
    settings: EvaluateSettings,
) -> None:
    """The photos that remain, and then the summary."""
    store = RecordStore(run.path, image_ids, of_old_version=run.is_of_old_version)
    done = store.done()
    fabric.barrier()  # before any process writes, so that all agree on what is left
    remaining_ids = [image_id for image_id in image_ids if image_id not in done]
    own_ids = remaining_ids[fabric.global_rank :: fabric.world_size]
    appender = store.appender(fabric.global_rank)
    progress = tqdm(
        desc="evaluate", unit="image", initial=len(done),
        total=len(done) + len(own_ids), disable=not fabric.is_global_zero,
    )  # fmt: skip
    with progress:

        def write(record: Record) -> None:
            appender.append(record)
            progress.update()

        task.run(own_ids, write)
    description, trained_on = task.source.description, task.trained_on()
    task.close()  # scoring needs the memory
    fabric.barrier()
    if fabric.is_global_zero:
        start = time.perf_counter()
        store.merge()
        summary = summarise(store, dataset, image_ids, description, settings, run.path, trained_on)
        summary["seconds"]["score"] = round(time.perf_counter() - start, 3)
        run.write_text("summary.md", summary_table(summary) + detail_tables(summary))
        run.write_text("summary.csv", summary_csv(summary))
        run.write_text("summary.tex", summary_latex(summary))
        run.write_json(_SUMMARY, summary)
    fabric.barrier()


def _input_files(settings: EvaluateSettings) -> dict[str, str | None]:
    """The files whose content is part of what is run."""
    file = settings.prompts.file
    of_views = file if isinstance(file, dict) else {None: file}
    return {
        "data.annotations": settings.data.annotations,
        "segmenter.checkpoint": settings.segmenter.checkpoint,
        "canonicalizer.name": settings.canonicalizer.name,
        **{
            "prompts.file" + ("" if angle is None else f".{angle}"): path
            for angle, path in of_views.items()
        },
    }


def _check_photos(dataset: CocoDataset, image_ids: list[int]) -> None:
    for image_id in image_ids:
        path = dataset.image_path(image_id)
        if not path.is_file():
            raise MissingFileError(
                f"image {path} does not exist, but {dataset.source} lists it; restore the file, or "
                "remove the image from the JSON"
            )


def _choose_photos(dataset: CocoDataset, settings: EvaluateSettings) -> list[int]:
    """Ids in ascending order; with a limit a sample, which a larger limit holds too."""
    image_ids = dataset.image_ids
    if settings.limit is None:
        return image_ids
    if RunFolder.is_one(settings.out) and RunFolder(Path(settings.out)).is_of_old_version:
        return image_ids[: settings.limit]  # as it chose them
    order = np.random.default_rng(SEED).permutation(len(image_ids))
    return sorted(image_ids[i] for i in order[: settings.limit])


def _summary_of(
    run: RunFolder, image_ids: list[int], settings: EvaluateSettings
) -> dict[str, Any] | None:
    """The summary, if there is one of all these photos, with the intervals that are asked for."""
    summary: dict[str, Any] | None = run.read_json(_SUMMARY)
    if summary is None or summary["dataset"]["images"] != len(image_ids):
        return None
    resamples = (summary.get("intervals") or {"resamples": 0})["resamples"]
    return summary if resamples == settings.bootstrap or run.is_of_old_version else None
