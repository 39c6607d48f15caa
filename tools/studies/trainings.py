"""The trainings that the items of the study want, each run once by ``samrot train``."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from tqdm import tqdm

from samrot.cli import main
from samrot.data.photos import PhotoSettings, find_photos
from samrot.errors import InputError
from samrot.files import write_text
from samrot.geometry.groups import C4
from studies.settings import merged, read_settings

# Where there is a server to fork from, it has imported what all trainings need: some seconds each.
HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
PROCESSES: Any = multiprocessing.get_context("forkserver" if HAS_SERVER else "spawn")
if HAS_SERVER:
    PROCESSES.set_forkserver_preload(["samrot.training.train"])

QUICK: dict[str, Any] = {
    "workers": 0,
    "canonicalizer": {"size": 33},
    "optim": {"steps": 4, "batch_size": 2, "warmup_steps": 1},
}


class Training(NamedTuple):
    """A training, the same wherever its photos lie.

    Args:
        settings: those of ``samrot train`` but for files; and ``photos``: whether they are the
            ``masked`` ones, and the shares of them that are ``turned`` by each quarter turn.
        labels: what it is called in the item that wants it: the point of each axis, and the seed.
    """

    settings: dict[str, Any]
    labels: dict[str, Any]

    @property
    def name(self) -> str:
        """Its folder: the same for the same settings, whichever item wants it."""
        content = json.dumps(self.settings, sort_keys=True).encode()
        architecture = self.settings["canonicalizer"]["architecture"]
        return f"{architecture}_{hashlib.sha256(content).hexdigest()[:8]}"

    def checkpoint(self, out: Path) -> Path:
        """The canonicalizer, where it has been trained."""
        return out / "trained" / self.name / "canonicalizer.safetensors"


class Photos(NamedTuple):
    """The photos to train on.

    Args:
        upright: folder of upright photos.
        masked: folder and COCO JSON of photos with masks, for trainings through a segmenter.
        held_out: text file of photos never trained on, as in ``data.exclude``.
    """

    upright: str
    masked: tuple[str, str] | None
    held_out: str | None


def list_trainings(item: str, quick: bool = False) -> list[Training]:
    """The trainings of an item: each point of one axis with each of the others, and each seed."""
    chosen = read_settings(item)
    if "axes" not in chosen:
        return []
    base = merged(read_settings("trainings"), chosen.get("common", {}))
    axes: dict[str, dict[Any, Any]] = {
        **chosen["axes"],
        "seed": {seed: {"seed": seed} for seed in range(chosen["seeds"])},
    }
    trainings = []
    for points in itertools.product(*(axis.items() for axis in axes.values())):
        settings = base
        for _, changes in points:
            settings = merged(settings, changes)
        if settings["prior"] == "of photos":
            settings = settings | {"prior": settings["photos"]["turned"]}
        if quick:
            # Those through a segmenter take no limit.
            settings = merged(settings, QUICK | {"limit": settings["limit"] and 8})
        labels = dict(zip(axes, (label for label, _ in points), strict=True))
        trainings.append(Training(settings, labels))
    return [trainings[0], trainings[-1]] if quick else trainings


def train_all(
    trainings: Iterable[Training], photos: Photos, out: Path, *, jobs: int, device: str
) -> int:
    """Run those that are not finished, some at a time; the number of failures.

    Each gets OUT/trained/NAME, and beside it NAME.yaml, its settings, and NAME.log.
    """
    wanted = {training.name: training for training in trainings}
    missing = [t for t in wanted.values() if not t.checkpoint(out).is_file()]
    print(f"{len(wanted)} trainings, {len(wanted) - len(missing)} of them finished", flush=True)
    (out / "trained").mkdir(parents=True, exist_ok=True)
    failures = 0
    with ThreadPoolExecutor(jobs) as pool:
        codes = pool.map(lambda training: _train(training, photos, out, jobs, device), missing)
        for training, code in zip(
            missing, tqdm(codes, total=len(missing), unit="run"), strict=True
        ):
            if code:
                failures += 1
                log = out / "trained" / f"{training.name}.log"
                tqdm.write(f"study: {training.labels} failed ({code}); see {log}", file=sys.stderr)
    return failures


def _train(training: Training, photos: Photos, out: Path, jobs: int, device: str) -> int:
    """One training in a process of its own; its exit code."""
    folder = out / "trained"
    config, log = folder / f"{training.name}.yaml", folder / f"{training.name}.log"
    try:
        settings = resolve(training.settings, photos, folder / f"{training.name}.poses.json")
    except InputError as error:
        write_text(log, f"{error}\n")
        return 2
    header = ", ".join(f"{name} {value}" for name, value in training.labels.items())
    write_text(config, f"# {header}\n{yaml.safe_dump(settings, sort_keys=False)}")
    arguments = ["train", "--config", str(config), "--device", device]
    arguments += ["--out", str(folder / training.name)]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    process = PROCESSES.Process(target=_run, args=(arguments, log, threads))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def _run(arguments: Sequence[str], log: Path, threads: int) -> None:
    """Runs samrot, in this process and to its end; what it says goes to a file."""
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(threads)
    sys.exit(main(arguments))


def resolve(settings: dict[str, Any], photos: Photos, poses_file: Path) -> dict[str, Any]:
    """Settings of ``samrot train``, with files in place of ``photos``.

    Photos are turned by labels that undo a turn which is not there: the network sees what it would
    see of turned copies, to the bit, since quarter turns are exact. They are written to a file.
    """
    result = dict(settings)
    kind = result.pop("photos")
    data: dict[str, Any] = {"images": [photos.upright], "exclude": photos.held_out}
    if kind["masked"]:
        if photos.masked is None:
            raise InputError("trainings through a segmenter need --masked IMAGES ANNOTATIONS")
        images, annotations = photos.masked
        data = {**data, "images": [images], "annotations": annotations}
    elif kind["turned"][0] < 1:
        paths, _ = find_photos(PhotoSettings(**data))
        poses = undone_turns(len(paths), kind["turned"], settings["seed"])
        labels = {path.name: pose for path, pose in zip(paths, poses, strict=True)}
        write_text(poses_file, json.dumps(labels))
        result["labels"] = str(poses_file)
    return {**result, "data": data}


def undone_turns(number: int, shares: Sequence[float], seed: int) -> list[int]:
    """Elements of C4 that leave photos turned in these shares when they are undone."""
    turns = np.random.default_rng(seed).choice(C4.order, size=number, p=shares)
    return [C4.inverse(turn) for turn in turns.tolist()]
