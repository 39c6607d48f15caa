"""How the photos of a dataset are turned: labels from files, and the prior, counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samrot.data.coco import read_json
from samrot.data.images import exif_orientation
from samrot.errors import InputError
from samrot.geometry.groups import C4, FiniteGroup
from samrot.geometry.pose import exif_element, quarter_turns


def estimate_prior(paths: Sequence[Path], source: str, group: FiniteGroup = C4) -> list[float]:
    """Share of each pose among some photos, as they are stored.

    Args:
        paths: image files.
        source: ``exif`` reads their orientation tags (none counts as upright, and C4 leaves mirrors
            out); or a JSON file that maps file names to elements of the group, as quarter turns
            counter-clockwise.
        group: C4 or D4.

    Returns:
        |G| probabilities.

    Raises:
        InputError: if the file does not say it for every photo, or holds something else.
    """
    if source == "exif":
        poses = [exif_element(exif_orientation(path)) for path in paths]
        if group is C4:
            poses = [quarter_turns(pose) for pose in poses]
    else:
        poses = read_pose_labels(paths, source, group)
    counts = np.bincount(poses, minlength=group.order)
    return [float(share) for share in counts / counts.sum()]


def read_pose_labels(paths: Sequence[Path], source: str, group: FiniteGroup = C4) -> list[int]:
    """The pose of each photo, from a JSON file.

    Args:
        paths: image files.
        source: a JSON file that maps file names, or paths, to elements of the group, 0..3 for C4.
        group: C4 or D4.

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
        pose: Any = labels.get(str(path), labels.get(path.name))
        if isinstance(pose, bool) or pose not in range(group.order):
            raise InputError(
                f"orientation labels {source} say {pose!r} for {path.name}; expected "
                f"{', '.join(map(str, range(group.order)))} for every photo (0 to 3 are quarter "
                "turns)"
            )
        poses.append(pose)
    return poses
