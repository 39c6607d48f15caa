r"""How far canonicalizers break their law where turning resamples: at 45 degrees, at any angle.

python tools/measure_law.py --images DIR [--list FILE] [--limit 100] NAME_OR_FILE ...

Photos are cut to their centred square and turned about its centre, so that a canonicalizer that
sees the inscribed disc sees the same scene. Turned by g, the estimated angle should grow by g, and
the evidence of a finite group should be moved by g. Evidence: how far it is from that, as a share
of its own size, both without their mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

import samrot
from samrot.canonicalizers import Canonicalizer
from samrot.data.photos import PhotoSettings, find_photos
from samrot.evaluation.pose_accuracy import centred_square
from samrot.evaluation.table import markdown
from samrot.evaluation.views import find_views
from samrot.geometry.groups import rotation_angle_deg
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose

QUARTER, EIGHTH = 90.0, 45.0


def turned(square: np.ndarray, angle_deg: float) -> tuple[np.ndarray, Pose]:
    """A square photo turned about its centre, of its own size, and the pose that it then has."""
    pose = find_views([angle_deg], None)[0].pose
    return PlaneTransform.from_pose(pose, (square.shape[0], square.shape[1])).image(square), pose


def angle_error(canonicalizer: Canonicalizer, square: np.ndarray, angle_deg: float) -> float:
    """By how many degrees the estimate of the turned photo is not that of the photo, turned."""
    image, pose = turned(square, angle_deg)
    before, after = canonicalizer.estimate(square), canonicalizer.estimate(image)
    return rotation_angle_deg((pose.matrix @ before.matrix).T @ after.matrix)


def evidence_error(canonicalizer: Canonicalizer, square: np.ndarray, angle_deg: float) -> float:
    """Relative, of a group that has that angle; NaN of others."""
    group = canonicalizer.group
    step = 360 / group.order
    if group.has_mirrors or angle_deg % step:
        return float("nan")
    before = canonicalizer.logits(square).double()
    after = canonicalizer.logits(turned(square, angle_deg)[0]).double()
    expected = group.act_on_logits(before, round(angle_deg / step))
    return float((after - expected).norm() / (expected - expected.mean()).norm())


def law_row(name: str, squares: Sequence[np.ndarray], random_angles: np.ndarray) -> list[str]:
    """What is measured of one canonicalizer."""
    canonicalizer = samrot.load_canonicalizer(name)
    evidence: dict[float, list[float]] = {QUARTER: [], EIGHTH: []}
    poses: list[list[float]] = []
    for square, angle_deg in zip(tqdm(squares, desc=name), random_angles, strict=True):
        for of_group, errors in evidence.items():
            errors.append(evidence_error(canonicalizer, square, of_group))
        angles = (QUARTER, EIGHTH, float(angle_deg))
        poses.append([angle_error(canonicalizer, square, angle) for angle in angles])
    row = [name, canonicalizer.group.name]
    row += ["-" if np.isnan(e).all() else f"{np.median(e):.2g}" for e in evidence.values()]
    for of_photos in np.array(poses).T:
        row.append(f"{np.median(of_photos):.2f} / {(of_photos <= 22.5).mean():.3f}")
    return row


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("canonicalizers", nargs="+")
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--list", help="text file: ends of the paths to use")
    parser.add_argument("--limit", type=int, default=100)
    options = parser.parse_args()
    paths, _ = find_photos(PhotoSettings(images=options.images, include=options.list))
    at = np.linspace(0, len(paths) - 1, min(options.limit, len(paths))).astype(int)
    squares = [centred_square(samrot.read_image(paths[i])) for i in at]
    angles = np.random.default_rng(0).uniform(0, 360, len(squares))
    rows = [law_row(name, squares, angles) for name in options.canonicalizers]
    print(f"{len(squares)} photos; angles: median error, degrees / share within 22.5 degrees\n")
    header = ["canonicalizer", "group", "evidence at 90", "evidence at 45"]
    header += ["angle at 90", "angle at 45", "angle at random"]
    print("\n".join(markdown(header, rows)))


if __name__ == "__main__":
    main()
