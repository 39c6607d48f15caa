"""Training on photos that are not all upright: train, put upright what is turned, train anew.

Source: after Kaba and Ravanbakhsh 2025 (arXiv 2510.08178), with the canonicalizer itself as judge.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from samrot.canonicalizers import load_canonicalizer
from samrot.data.images import read_image
from samrot.data.pose_labels import read_pose_labels
from samrot.drawing.overlays import panel
from samrot.drawing.pose_sheets import contact_sheet
from samrot.files import replacing
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4
from samrot.robust.pose_sources import PriorWeighted
from samrot.runtime.run_folder import RunFolder
from samrot.training.pose_photos import read_put_back
from samrot.training.train_settings import TrainSettings
from samrot.wording import counted

JUDGED = "realign.json"
POSES, SHEET = "poses.json", "moved.png"  # of a round
SHOWN = 60  # photos on a contact sheet


def train_in_rounds(
    settings: TrainSettings,
    paths: Sequence[Path],
    apply_exif: bool | None,
    poses: Sequence[int],
    train_round: Callable[[TrainSettings], Path],
) -> Path:
    """Train in rounds, each anew, on the photos as the network of the round before judges them.

    What has learned from turned photos has learned some of them by heart, so that to train on keeps
    its errors. A round lies in ``round_0`` and so on; ``poses.json`` there says how each photo was
    taken to be turned, and ``moved.png`` shows those that the round moved. ``realign.json`` counts
    these, and says which share was expected to be wrong still.

    Args:
        settings: those of the whole.
        paths: the photos.
        apply_exif: as of ``read_image``.
        poses: element that each is taken to be turned by in the first round.
        train_round: trains by settings without rounds, or continues, and gives the checkpoint.

    Returns:
        Path of the checkpoint of the last round, in the run folder.
    """
    run = RunFolder.open(settings.out, settings, may_grow={"realign": None})
    given, of_round = poses, replace(settings, realign=0)
    with run.held():
        # A round is judged once: another machine, which rounds otherwise, goes on from the same.
        judged = run.read_json(JUDGED) or {"photos": len(paths), "moved": [], "expected_wrong": []}
        trained = train_round(replace(of_round, out=str(run.path / "round_0" / "run")))
        for number in range(1, settings.realign + 1):
            folder = run.path / f"round_{number}"
            if number > len(judged["moved"]):
                found, share = find_poses(trained, paths, apply_exif, given, settings.turned_share)
                moved = sum(a != b for a, b in zip(found, poses, strict=True))
                tqdm.write(
                    f"round {number}: moved {moved} of {counted(len(paths), 'photo')}; "
                    f"{share:.1%} are expected to be wrong still"
                )
                folder.mkdir(exist_ok=True)
                draw_moved(paths, apply_exif, poses, found, folder / SHEET)
                by_path = {str(path): pose for path, pose in zip(paths, found, strict=True)}
                RunFolder(folder).write_json(POSES, by_path)
                judged["moved"].append(moved)
                judged["expected_wrong"].append(share)
                run.write_json(JUDGED, judged)
            poses = read_pose_labels(paths, str(folder / POSES), D4)
            trained = train_round(
                replace(
                    of_round,
                    out=str(folder / "run"),
                    labels=str(folder / POSES),
                    turned_share=judged["expected_wrong"][number - 1],
                    seed=settings.seed + number,
                )
            )
        target = run.path / trained.name
        with replacing(target) as partial:
            shutil.copyfile(trained, partial)
    return target


def find_poses(
    checkpoint: Path,
    paths: Sequence[Path],
    apply_exif: bool | None,
    given: Sequence[int],
    turned_share: float,
) -> tuple[list[int], float]:
    """The likeliest pose of each photo, by a network and by how many are turned at all.

    Args:
        checkpoint: the network's.
        paths: the photos.
        apply_exif: as of ``read_image``.
        given: element that each was taken to be turned by before training.
        turned_share: share of the photos of which that is wrong.

    Returns:
        The poses, and the share of them that is expected to be wrong.
    """
    canonicalizer = load_canonicalizer(checkpoint)
    group = canonicalizer.group
    by_one = turned_share / (group.order - 1)
    source = PriorWeighted(canonicalizer, (1 - turned_share, *[by_one] * (group.order - 1)))
    found: list[int] = []
    doubts: list[float] = []
    for path, before in tqdm(list(zip(paths, given, strict=True)), desc="realign", unit="image"):
        pose = source.estimate(read_put_back(path, before, apply_exif))
        found.append(D4.compose(before, pose.element))
        doubts.append(1 - pose.confidence)
    return found, float(np.mean(doubts))


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
