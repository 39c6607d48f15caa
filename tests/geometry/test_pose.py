"""Poses: the exact part and the tilt, EXIF tags."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.groups import C4, C8, C16, D4, dihedral_group, rotation_matrix
from samrot.geometry.pose import Pose, as_pose, exif_element, factor, factor_angle, quarter_turns


@pytest.mark.parametrize("group", [C4, C8, C16, D4, dihedral_group(8)], ids=lambda g: g.name)
def test_an_element_is_its_exact_part_times_a_tilt(group: object) -> None:
    for g in range(group.order):
        element, tilt_deg = factor(group, g)
        assert -45 < abs(tilt_deg) <= 45
        product = D4.matrix(element) @ rotation_matrix(tilt_deg)
        np.testing.assert_allclose(product, group.matrix(g), atol=1e-12)


@pytest.mark.parametrize(
    ("angle", "expected"),
    [(0, (0, 0)), (15, (0, 15)), (45, (0, 45)), (46, (1, -44)), (105, (1, 15)), (270, (3, 0)),
     (315, (3, 45)), (-15, (0, -15)), (350, (0, -10))],
)  # fmt: skip
def test_angles_are_a_quarter_turn_after_a_tilt(angle: int, expected: tuple[int, int]) -> None:
    assert factor_angle(angle) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_elements(orientation: int) -> None:
    displayed = np.random.default_rng(0).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    stored = Image.fromarray(exact.move_image(displayed, exif_element(orientation)))
    exif = stored.getexif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(stored)), displayed)


def test_unknown_orientations_are_as_stored() -> None:
    assert [exif_element(tag) for tag in (0, 9, -1)] == [0, 0, 0]
    assert [quarter_turns(element) for element in range(8)] == [0, 1, 2, 3] * 2


def test_confidence() -> None:
    assert Pose(2).confidence == 1
    assert Pose(2, probabilities=np.array([0.1, 0.2, 0.6, 0.1])).confidence == 0.6


@pytest.mark.parametrize("wrong", [8, -1, 1.5, True, "1", None])
def test_what_is_no_pose_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match=r"pose is .*; expected a samrot Pose, or one of: 0, 1"):
        as_pose(wrong)
    assert as_pose(np.int64(3)).element == 3
    assert as_pose(Pose(1, 5.0)).tilt_deg == 5.0


def test_a_tilt_is_finite() -> None:
    with pytest.raises(InputError, match="tilted by nan degrees"):
        Pose(0, float("nan"))
