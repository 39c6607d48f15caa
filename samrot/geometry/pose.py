"""How a photo is turned: an exact part in D4, and a tilt."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from samrot.errors import InputError
from samrot.geometry.groups import D4, FiniteGroup, rotation_matrix

# EXIF orientation 1..8 -> the element of D4 that made the stored photo from the displayed one.
_EXIF_ELEMENTS = {1: 0, 2: 4, 3: 2, 4: 6, 5: 5, 6: 1, 7: 7, 8: 3}


@dataclass(frozen=True, eq=False)
class Pose:
    """How a photo is turned: photo = element x R(tilt) x canonical photo.

    Args:
        element: element of D4, 0..7, the exact part; 0..3 are quarter turns counter-clockwise.
        tilt_deg: counter-clockwise, degrees, before the element acts.
        probabilities: (|G|,) float64 that sum to 1, of a canonicalizer's group; None if given.
        tilt_spread_deg: standard deviation of the tilt, degrees; None where it is not estimated.

    Raises:
        InputError: if the element is none of D4, or the tilt not finite.
    """

    element: int = 0
    tilt_deg: float = 0.0
    probabilities: np.ndarray | None = None
    tilt_spread_deg: float | None = None

    def __post_init__(self) -> None:
        if self.element not in range(D4.order) or not np.isfinite(self.tilt_deg):
            raise InputError(
                f"pose is element {self.element!r} tilted by {self.tilt_deg!r} degrees; expected "
                f"an element 0 to {D4.order - 1} and a finite tilt"
            )

    @property
    def confidence(self) -> float:
        """Probability of the pose, 0..1; 1 where it was given."""
        return 1.0 if self.probabilities is None else float(np.max(self.probabilities))

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2) float64: what it does to (x, y) of the canonical photo, about its centre."""
        matrix: np.ndarray = D4.matrix(self.element) @ rotation_matrix(self.tilt_deg)
        return matrix

    @classmethod
    def of_element(
        cls, group: FiniteGroup, g: int, probabilities: np.ndarray | None = None
    ) -> Pose:
        """The pose of a photo that element g of a group of plane symmetries has turned."""
        element, tilt_deg = factor(group, g)
        return cls(element, tilt_deg, probabilities)


def as_pose(value: Pose | int) -> Pose:
    """A pose that may be given as an element of D4.

    Raises:
        InputError: if it is neither.
    """
    if isinstance(value, Pose):
        return value
    try:
        element = -1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        element = -1
    if element not in range(D4.order):
        raise InputError(
            f"pose is {value!r}; expected a samrot Pose, or one of: "
            f"{', '.join(map(str, range(D4.order)))} (0 to 3 are quarter turns counter-clockwise)"
        )
    return Pose(element)


@lru_cache
def factor(group: FiniteGroup, g: int) -> tuple[int, float]:
    """An element of a group of plane symmetries as (element of D4, tilt), element x R(tilt)."""
    mirror = group.mirrors(g)
    element, tilt_deg = factor_angle(group.angle_deg(g))
    # The tilt acts before the mirror, which reverses it.
    return (element + D4.order // 2, -tilt_deg) if mirror else (element, tilt_deg)


def factor_angle(angle_deg: float) -> tuple[int, float]:
    """A turn counter-clockwise as (quarter turns 0..3, tilt in (-45, 45])."""
    quarters = int(np.ceil((angle_deg - 45) / 90))
    return quarters % 4, angle_deg - 90 * quarters


def exif_element(orientation: int) -> int:
    """The element of D4 that made a stored photo from the displayed one; 0 for unknown tags."""
    return _EXIF_ELEMENTS.get(orientation, 0)


def element_exif(element: int) -> int:
    """The EXIF orientation of a photo that an element of D4 has moved from upright."""
    return next(tag for tag, moved in _EXIF_ELEMENTS.items() if moved == element)


def quarter_turns(element: int) -> int:
    """The quarter turns of an element of D4, 0..3, its mirror left out."""
    return element % 4
