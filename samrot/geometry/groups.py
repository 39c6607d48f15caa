"""Groups of symmetries, as algebra: no pixels here.

Convention: matrices act on (x, y), y down, about the centre of the photo. Counter-clockwise as
displayed by t is ``[[cos t, sin t], [-sin t, cos t]]``, the mirror left-right is ``diag(-1, 1)``,
and ``compose`` is the matrix product: h acts first, then g.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from samrot.errors import InputError


@dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite group of symmetries: elements are 0 .. order-1, and 0 is the identity.

    Args:
        name: name in configs and messages, as ``C4``.
        table: ``table[g][h]`` is the element that acts as h first, then g.
        matrices: (order, d, d) float64, exact integers for C4 and D4.
    """

    name: str
    table: tuple[tuple[int, ...], ...]
    matrices: np.ndarray

    identity = 0

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.table)

    def compose(self, g: int, h: int) -> int:
        """The element that acts as h first, then g."""
        return self.table[g][h]

    def inverse(self, g: int) -> int:
        """The element that undoes g."""
        return self.table[g].index(self.identity)

    def matrix(self, g: int) -> np.ndarray:
        """(d, d) float64, how g acts on coordinates."""
        return self.matrices[g]

    def distance(self, g: int, h: int) -> float:
        """By how many degrees h is turned from g; 180 where one of them mirrors alone."""
        return rotation_angle_deg(self.matrices[self.compose(self.inverse(g), h)])

    def random(self, rng: np.random.Generator) -> int:
        """An element drawn evenly."""
        return int(rng.integers(self.order))

    def mirrors(self, g: int) -> bool:
        """Whether g turns left hands into right hands."""
        return bool(np.linalg.det(self.matrices[g]) < 0)

    def angle_deg(self, g: int) -> float:
        """By how many degrees g turns counter-clockwise, after its mirror if it has one; 0..360."""
        x_axis = self.matrices[g] @ (-1.0 if self.mirrors(g) else 1.0, 0.0)
        return float(np.rad2deg(np.arctan2(-x_axis[1], x_axis[0])).round(9) % 360)

    @cached_property
    def has_mirrors(self) -> bool:
        """Whether some of its elements mirror."""
        return any(self.mirrors(g) for g in range(self.order))

    @cached_property
    def is_exact(self) -> bool:
        """Whether its elements flip and turn pixels, and none has to resample them."""
        return bool((self.matrices == np.rint(self.matrices)).all())

    def nearest(self, matrix: np.ndarray) -> int:
        """The element that a matrix, (d, d), is turned least from; of two, the first."""
        angles = [rotation_angle_deg(own.T @ matrix) for own in self.matrices]
        return int(np.argmin(np.round(angles, 6)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Keys of the elements in tables and JSON: ``0``, ``90``, ..., mirrored ``m0``, ``m90``."""
        return tuple(
            ("m" if self.mirrors(g) else "") + f"{self.angle_deg(g):g}" for g in range(self.order)
        )

    def act_on_logits(self, logits: Tensor, g: int) -> Tensor:
        """Regular representation: what the evidence of an image becomes when g acts on it.

        Entry h of the result is entry g^-1 h of ``logits``; for C4 that is ``roll(logits, g)``.

        Args:
            logits: (..., |G|).
        """
        g_inverse = self.inverse(g)
        source = [self.compose(g_inverse, h) for h in range(self.order)]
        return logits[..., torch.tensor(source, device=logits.device)]

    def mirror_logits(self, logits: Tensor) -> Tensor:
        """What the evidence of an image becomes when the image is mirrored left-right.

        Of a cyclic group: a mirror turns a rotation into its inverse.

        Args:
            logits: (..., |G|).
        """
        return logits[..., [self.inverse(g) for g in range(self.order)]]


@dataclass(frozen=True)
class RotationGroup:
    """SO(3): elements are (3, 3) float64 rotation matrices."""

    name: str = "SO(3)"

    @property
    def identity(self) -> np.ndarray:
        """The unit matrix."""
        return np.eye(3)

    def compose(self, g: np.ndarray, h: np.ndarray) -> np.ndarray:
        """The element that acts as h first, then g."""
        return g @ h

    def inverse(self, g: np.ndarray) -> np.ndarray:
        """The element that undoes g."""
        return g.T

    def matrix(self, g: np.ndarray) -> np.ndarray:
        """(3, 3) float64: the element itself."""
        return g

    def distance(self, g: np.ndarray, h: np.ndarray) -> float:
        """The angle of the rotation from g to h, degrees, 0..180."""
        return rotation_angle_deg(g.T @ h)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """An element drawn evenly (Shoemake 1992: a normalised Gaussian quaternion)."""
        w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )


def rotation_angle_deg(matrix: np.ndarray) -> float:
    """The angle of a rotation in the plane or in space, degrees, 0..180; a mirror counts as 180."""
    if np.linalg.det(matrix) < 0:
        return 180.0
    skew = matrix - matrix.T
    sine = np.sqrt((skew**2).sum() / 8)  # better conditioned near 0 and 180 than the cosine alone
    cosine = (np.trace(matrix) - (len(matrix) - 2)) / 2
    return float(np.rad2deg(np.arctan2(sine, cosine)))


def rotation_matrix(angle_deg: float) -> np.ndarray:
    """(2, 2) float64: counter-clockwise as displayed; exact integers for quarter turns."""
    quarters, rest = divmod(angle_deg, 90.0)
    cos, sin = np.cos(np.deg2rad(rest)), np.sin(np.deg2rad(rest))
    matrix = np.array([[cos, sin], [-sin, cos]]) if rest else np.eye(2)
    return np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), int(quarters) % 4) @ matrix


def cyclic_group(order: int) -> FiniteGroup:
    """C_n: element k turns by k x 360/n degrees, counter-clockwise as displayed."""
    table = tuple(tuple((g + h) % order for h in range(order)) for g in range(order))
    matrices = np.stack([rotation_matrix(360 * k / order) for k in range(order)])
    return FiniteGroup(f"C{order}", table, matrices)


def dihedral_group(order: int) -> FiniteGroup:
    """D_n, 2n elements: m * n + k mirrors left-right first if m, then turns as element k of C_n."""

    def compose(g: int, h: int) -> int:
        (mirror_g, turn_g), (mirror_h, turn_h) = divmod(g, order), divmod(h, order)
        turn = turn_g - turn_h if mirror_g else turn_g + turn_h  # a mirror reverses turns
        return (mirror_g ^ mirror_h) * order + turn % order

    elements = range(2 * order)
    turns = cyclic_group(order).matrices
    table = tuple(tuple(compose(g, h) for h in elements) for g in elements)
    return FiniteGroup(f"D{order}", table, np.concatenate([turns, turns @ np.diag([-1.0, 1.0])]))


C4 = cyclic_group(4)
C8 = cyclic_group(8)
C16 = cyclic_group(16)
D4 = dihedral_group(4)
SO3 = RotationGroup()
GROUPS = {group.name: group for group in (C4, C8, C16, D4)}


def find_group(name: str) -> FiniteGroup:
    """The group of that name, in any case: C4, C8, C16 or D4.

    Raises:
        InputError: if there is none.
    """
    if str(name).upper() not in GROUPS:
        raise InputError(f"group is {name!r}; expected one of: {', '.join(GROUPS)}")
    return GROUPS[str(name).upper()]
