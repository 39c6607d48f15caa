"""How the photos of a dataset are turned: the prior over poses, counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samrot.data.coco import read_json
from samrot.data.images import exif_pose
from samrot.errors import InputError
from samrot.geometry.groups import C4


def estimate_prior(paths: Sequence[Path], source: str) -> list[float]:
    """Share of each pose among some photos, as they are stored.

    Args:
        paths: image files.
        source: ``exif`` reads their orientation tags (none counts as upright); or a JSON file that
            maps file names to poses, quarter turns CCW, 0..3.

    Returns:
        |G| probabilities.

    Raises:
        InputError: if the file does not say it for every photo, or holds something else.
    """
    if source == "exif":
        poses = [exif_pose(path) for path in paths]
    else:
        poses = read_pose_labels(paths, source)
    counts = np.bincount(poses, minlength=C4.order)
    return [float(share) for share in counts / counts.sum()]


def read_pose_labels(paths: Sequence[Path], source: str) -> list[int]:
    """The pose of each photo, from a JSON file.

    Args:
        paths: image files.
        source: a JSON file that maps file names to poses, quarter turns CCW, 0..3.

    Raises:
        InputError: if the file does not say it for every photo, or holds something else.
    """
    labels = read_json(source, "orientation labels")
    if not isinstance(labels, dict):
        raise InputError(
            f"orientation labels {source} hold a {type(labels).__name__}; expected an object that "
            "maps file names to quarter turns"
        )
    poses: list[int] = []
    for path in paths:
        pose: Any = labels.get(path.name)
        if pose not in range(C4.order):
            raise InputError(
                f"orientation labels {source} say {pose!r} for {path.name}; expected 0, 1, 2 or 3 "
                "quarter turns for every photo"
            )
        poses.append(pose)
    return poses
