"""How far the angles are off that a canonicalizer finds: photos turned at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.evaluation.views import find_views
from samrot.geometry.groups import D4
from samrot.geometry.pose import Pose
from samrot.scoring.pose_statistics import angle_statistics


class AngleAccuracy:
    """Estimates for photos turned by angles drawn evenly from the whole circle.

    Args:
        canonicalizer: what is measured.
        draws: angles drawn for each photo; the n-th ones of all photos are one draw.
        seed: seed of the angles.
    """

    def __init__(self, canonicalizer: Canonicalizer, draws: int, seed: int = 0) -> None:
        self.canonicalizer = canonicalizer
        self.draws = draws
        self.rng = np.random.default_rng(seed)
        self.errors_deg: list[list[float]] = []  # of each photo, a draw each
        self.angles_deg: list[list[float]] = []  # likewise, as they were turned
        self.poses: list[list[Pose]] = []  # likewise, as estimated

    def update(self, upright: np.ndarray) -> None:
        """Turn a photo, (H, W, 3) uint8 RGB, on canvases that hold all of it, and estimate."""
        angles = self.rng.uniform(0, 360, self.draws).tolist()
        views = find_views(angles, None)
        size_hw = (upright.shape[0], upright.shape[1])
        poses = [
            self.canonicalizer.estimate(view.transform(size_hw).image(upright)) for view in views
        ]
        self.angles_deg.append(angles)
        self.poses.append(poses)
        self.errors_deg.append(
            [
                view.error_deg(pose.element, pose.tilt_deg)
                for view, pose in zip(views, poses, strict=True)
            ]
        )

    def report(self) -> dict[str, Any] | None:
        """Errors over all draws and of each; and how the spread tells them; None without draws."""
        if not self.draws:
            return None
        errors = np.array(self.errors_deg)
        return {
            "draws": self.draws,
            "all": angle_statistics(errors.ravel()),
            "by_draw": [angle_statistics(of_draw) for of_draw in errors.T],
            "by_spread": self._by_spread(errors.ravel()),
        }

    def worst(self, count: int) -> list[tuple[int, int]]:
        """(photo, draw) of the largest errors, the largest first."""
        errors = np.array(self.errors_deg)
        order = np.argsort(-errors, axis=None, kind="stable")[:count]
        return [(int(at) // self.draws, int(at) % self.draws) for at in order]

    def _by_spread(self, errors_deg: np.ndarray) -> list[dict[str, float]] | None:
        """Quarters of the estimates, from the least spread to the most; None without spreads."""
        spreads = [pose.tilt_spread_deg for poses in self.poses for pose in poses]
        known = np.array([spread for spread in spreads if spread is not None])
        if len(known) < len(spreads):
            return None
        parts = np.array_split(np.argsort(known, kind="stable"), 4)
        return [
            {
                "mean_spread_deg": float(known[part].mean()),
                "root_mean_square_error_deg": float(np.sqrt((errors_deg[part] ** 2).mean())),
                "median_error_deg": float(np.median(errors_deg[part])),
            }
            for part in parts
            if len(part)
        ]


def angle_of(pose: Pose) -> float:
    """The whole angle of a pose that mirrors nothing, degrees counter-clockwise, 0..360."""
    return float((D4.angle_deg(pose.element) + pose.tilt_deg) % 360)


def angle_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what a report of angles holds, for a table."""
    of_all, draws = report["all"], report["by_draw"]

    def cell(name: str, digits: int) -> str:
        values = [draw[name] for draw in draws if draw[name] is not None]
        spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if values else ""
        return ("-" if of_all[name] is None else f"{of_all[name]:.{digits}f}") + spread

    where = f"turned at random, {report['draws']} draws (least to most)"
    rows = [
        (f"angle error, median, degrees, {where}", cell("median", 2)),
        ("angle error, mean, degrees", cell("mean", 2)),
        ("share of angles within 5 degrees", cell("within_5", 4)),
        ("share of angles within 45 degrees", cell("within_45", 4)),
        ("angle error of those, median, degrees", cell("median_of_those", 2)),
    ]
    for part in report["by_spread"] or []:
        rows.append(
            (
                f"angle error where the spread is {part['mean_spread_deg']:.1f} degrees, median "
                "and root mean square",
                f"{part['median_error_deg']:.2f}, {part['root_mean_square_error_deg']:.2f}",
            )
        )
    return rows
