"""The views of a photo that are evaluated: the upright photo, moved by known elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samrot.errors import InputError, check_choice
from samrot.geometry.groups import C4, C8, D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, factor_angle

ANGLES = (0, 90, 180, 270)
GROUPS = {"c4": C4, "c8": C8, "d4": D4}


@dataclass(frozen=True, eq=False)
class OrbitView:
    """One view of every photo.

    Args:
        key: name in records, tables and files: the angle, or m and the angle of a mirrored view.
        pose: pose that the upright photo is brought to.
    """

    key: str
    pose: Pose

    @property
    def file_key(self) -> str:
        """The key with three digits, so that files are listed in order."""
        return self.key[: -len(self.key.lstrip("m"))] + self.key.lstrip("m").zfill(3)

    def transform(self, size_hw: tuple[int, int]) -> PlaneTransform:
        """From the upright photo, of that (height, width), to the view."""
        return PlaneTransform.from_pose(self.pose, size_hw, "expand")


def find_views(angles: Sequence[int], group: str | None) -> list[OrbitView]:
    """The views that the settings ask for: of a group, or of some angles."""
    if group is not None:
        elements = GROUPS[group]
        poses = [Pose.of_element(elements, g) for g in range(elements.order)]
        return [OrbitView(*pair) for pair in zip(elements.names, poses, strict=True)]
    return [OrbitView(str(angle), Pose(*factor_angle(angle))) for angle in angles]


def check_views(angles: Sequence[int], group: str | None) -> None:
    """Refuse angles that are no quarter turns, and groups that are unknown.

    Raises:
        InputError: naming the setting.
    """
    if group is not None:
        check_choice("group", group, GROUPS)
        return
    for angle in angles:
        check_choice("angles entry", angle, ANGLES)
    if not angles or len(set(angles)) < len(angles):
        raise InputError(f"angles is {list(angles)}; expected each once, and at least one")
