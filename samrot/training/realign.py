"""Training on photos that are not all upright: train, put upright what is sure, train on.

Source: after Kaba and Ravanbakhsh 2025 (arXiv 2510.08178), with the canonicalizer itself as judge.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from samrot.canonicalizers import load_canonicalizer
from samrot.data.images import read_image
from samrot.drawing.overlays import panel
from samrot.drawing.pose_sheets import contact_sheet
from samrot.files import replacing
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4
from samrot.runtime.run_folder import RunFolder
from samrot.wording import counted

POSES, SHEET = "poses.json", "moved.png"  # of a round
SHOWN = 60  # photos on a contact sheet


def train_in_rounds(
    settings: Any,
    paths: Sequence[Path],
    apply_exif: bool | None,
    poses: Sequence[int],
    train_round: Callable[[Any], Path],
) -> Path:
    """Train in rounds, each on the photos as the round before put them upright.

    A round lies in ``round_0`` and so on; ``poses.json`` there says how each photo was taken to be
    turned, and ``moved.png`` shows those that the round moved. ``realign.json`` counts these.

    Args:
        settings: ``TrainSettings`` of the whole.
        paths: the photos.
        apply_exif: as of ``read_image``.
        poses: element that each is taken to be turned by in the first round.
        train_round: trains by settings without rounds, or continues, and gives the checkpoint.

    Returns:
        Path of the checkpoint of the last round, in the run folder.
    """
    run = RunFolder.open(settings.out, settings, may_grow=settings.may_grow)
    rounds = settings.realign + 1
    ends = [settings.optim.steps * (n + 1) // rounds for n in range(rounds)]
    moved: list[int] = []
    checkpoint, labels = settings.init, settings.labels
    with run.held():
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            folder = run.path / f"round_{number}"
            if number:
                assert checkpoint is not None
                found = find_poses(checkpoint, paths, apply_exif, poses, settings.realign_above)
                moved.append(sum(a != b for a, b in zip(found, poses, strict=True)))
                folder.mkdir(exist_ok=True)
                draw_moved(paths, apply_exif, poses, found, folder / SHEET)
                poses, labels = found, str(folder / POSES)
                by_path = {str(path): pose for path, pose in zip(paths, poses, strict=True)}
                RunFolder(folder).write_json(POSES, by_path)
                tqdm.write(f"round {number}: moved {moved[-1]} of {counted(len(paths), 'photo')}")
            trained = train_round(
                replace(
                    settings,
                    out=str(folder / "run"),
                    realign=0,
                    labels=labels,
                    init=checkpoint,
                    optim=replace(settings.optim, steps=end - start),
                    seed=settings.seed + number,
                )
            )
            checkpoint = str(trained)
        run.write_json("realign.json", {"photos": len(paths), "moved": moved})
        target = run.path / trained.name
        with replacing(target) as partial:
            shutil.copyfile(trained, partial)
    return target


def find_poses(
    checkpoint: str,
    paths: Sequence[Path],
    apply_exif: bool | None,
    before: Sequence[int],
    above: float | None,
) -> list[int]:
    """The pose of each photo that a network is sure of; of the others what it was before.

    Args:
        checkpoint: the network's.
        paths: the photos.
        apply_exif: as of ``read_image``.
        before: element that each was taken to be turned by.
        above: probability of its pose above which it is sure; None: the median of these. What has
            learned from photos of which many are turned is sure of none in absolute terms.
    """
    canonicalizer = load_canonicalizer(checkpoint)
    found = [
        canonicalizer.estimate(read_image(path, apply_exif=apply_exif))
        for path in tqdm(paths, desc="realign", unit="image")
    ]
    if above is None:
        above = float(np.median([pose.confidence for pose in found]))
    return [
        pose.element if pose.confidence > above else old
        for pose, old in zip(found, before, strict=True)
    ]


def draw_moved(
    paths: Sequence[Path],
    apply_exif: bool | None,
    before: Sequence[int],
    after: Sequence[int],
    target: Path,
) -> None:
    """The photos whose pose is another now: as they were put upright before, and are now."""
    changed = [i for i, pose in enumerate(after) if pose != before[i]]
    panels: list[np.ndarray] = []
    for i in changed[:: -(-len(changed) // SHOWN) or 1]:
        image = read_image(paths[i], apply_exif=apply_exif)
        views = [move_image(image, D4.inverse(pose)) for pose in (before[i], after[i])]
        panels.append(panel(views, paths[i].name))
    if panels:
        contact_sheet(panels, target)
