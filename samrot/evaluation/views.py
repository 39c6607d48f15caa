"""The views of a photo that are evaluated: the upright photo, moved by known elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samrot.errors import InputError, check_choice, check_range
from samrot.geometry.groups import C4, C8, D4, FiniteGroup, rotation_angle_deg
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, factor_angle

ANGLES = (0.0, 90.0, 180.0, 270.0)
GROUPS = {"c4": C4, "c8": C8, "d4": D4}
ANY_ANGLE = "SO(2)"  # the group of angles that are not those of a group of the table


@dataclass(frozen=True, eq=False)
class OrbitView:
    """One view of every photo.

    Args:
        key: name in records, tables and files: the angle, or m and the angle of a mirrored view.
        pose: pose that the upright photo is brought to.
        group: group of the poses that a method may take it to be in.
    """

    key: str
    pose: Pose
    group: FiniteGroup = C4

    @property
    def file_key(self) -> str:
        """The key with three digits before the point, so that files are listed in order."""
        whole, point, rest = self.key.partition(".")
        return whole[: -len(whole.lstrip("m"))] + whole.lstrip("m").zfill(3) + point + rest

    @property
    def is_exact(self) -> bool:
        """Whether the view is made without resampling."""
        return self.pose.tilt_deg == 0

    def transform(self, size_hw: tuple[int, int]) -> PlaneTransform:
        """From the upright photo, of that (height, width), to the view."""
        return PlaneTransform.from_pose(self.pose, size_hw, "expand")

    def is_nearest(self, element: int) -> bool:
        """Whether undoing an element of D4 leaves the view tilted by at most 45 degrees."""
        return self.error_deg(element, 0.0) <= 45 + 1e-6

    def error_deg(self, element: int, tilt_deg: float) -> float:
        """By how many degrees an estimated pose is turned from that of the view, 0..180."""
        return rotation_angle_deg(self.pose.matrix.T @ Pose(element, tilt_deg).matrix)


def find_views(angles: Sequence[float], group: str | None) -> list[OrbitView]:
    """The views that the settings ask for: of a group, or of some angles."""
    if group is not None:
        elements = GROUPS[group]
        poses = [Pose.of_element(elements, g) for g in range(elements.order)]
        return [OrbitView(*pair, elements) for pair in zip(elements.names, poses, strict=True)]
    return [OrbitView(f"{angle:g}", Pose(*factor_angle(angle))) for angle in angles]


def check_views(angles: Sequence[float], group: str | None) -> None:
    """Refuse angles that are none, and groups that are unknown.

    Raises:
        InputError: naming the setting.
    """
    if group is not None:
        check_choice("group", group, GROUPS)
        return
    for angle in angles:
        check_range("angles entry", angle, 0, 359.99)
    if not angles or len({f"{angle:g}" for angle in angles}) < len(angles):
        raise InputError(f"angles is {list(angles)}; expected each once, and at least one")


def name_group(views: Sequence[OrbitView]) -> str:
    """The smallest group that all the views are of: C4, C8, D4, or SO(2)."""
    for group in (C4, C8, D4):
        if {view.key for view in views} <= set(group.names):
            return group.name
    return ANY_ANGLE


def average_key(group: str) -> str:
    """Key in ``summary.json`` of the average over a group, by its name, as ``c4_avg``."""
    return group.lower().replace("(", "").replace(")", "") + "_avg"
