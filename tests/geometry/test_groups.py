"""Groups are groups, and their matrices say what they do to pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.groups import (
    C4,
    C8,
    C16,
    D4,
    SO3,
    FiniteGroup,
    dihedral_group,
    find_group,
    rotation_matrix,
)

FINITE = [C4, C8, C16, D4, dihedral_group(8)]
EXACT = [C4, D4]


@pytest.mark.parametrize("group", FINITE, ids=lambda group: group.name)
def test_axioms(group: FiniteGroup) -> None:
    elements = range(group.order)
    for g in elements:
        assert group.compose(g, group.identity) == group.compose(group.identity, g) == g
        assert group.compose(g, group.inverse(g)) == group.identity
        assert group.distance(g, g) == 0
        for h in elements:
            for k in elements:
                left = group.compose(group.compose(g, h), k)
                assert left == group.compose(g, group.compose(h, k))


@pytest.mark.parametrize("group", FINITE, ids=lambda group: group.name)
def test_matrices_multiply_as_elements_compose(group: FiniteGroup) -> None:
    for g in range(group.order):
        for h in range(group.order):
            product = group.matrix(g) @ group.matrix(h)
            np.testing.assert_allclose(group.matrix(group.compose(g, h)), product, atol=1e-12)


def test_exact_matrices_are_integers() -> None:
    for group in EXACT:
        assert np.array_equal(group.matrices, np.rint(group.matrices))
    assert np.array_equal(D4.matrices[:4], C4.matrices)


@pytest.mark.parametrize("element", range(8))
def test_matrices_move_as_pixels_do(element: int) -> None:
    """The homomorphism alone would pass for the wrong sense of rotation."""
    height, width = 5, 8
    moved_hw = exact.move_size((height, width), element)
    for y in range(height):
        for x in range(width):
            image = np.zeros((height, width), dtype=np.uint8)
            image[y, x] = 1
            rows, columns = np.nonzero(exact.move_image(image, element))
            offset = np.array([x + 0.5 - width / 2, y + 0.5 - height / 2])
            expected = D4.matrix(element) @ offset + (moved_hw[1] / 2, moved_hw[0] / 2)
            assert (columns[0] + 0.5, rows[0] + 0.5) == tuple(expected)


def test_names_and_angles() -> None:
    assert C4.names == ("0", "90", "180", "270")
    assert D4.names == ("0", "90", "180", "270", "m0", "m90", "m180", "m270")
    assert C8.names[1::2] == ("45", "135", "225", "315")
    assert [D4.angle_deg(g) for g in range(8)] == [0, 90, 180, 270] * 2
    assert [C16.angle_deg(g) for g in (1, 15)] == [22.5, 337.5]


def test_distance_is_an_angle() -> None:
    assert [round(C8.distance(1, h), 9) for h in (0, 1, 2, 5, 7)] == [45, 0, 45, 180, 90]
    assert [D4.distance(0, g) for g in range(8)] == [0, 90, 180, 90, 180, 180, 180, 180]


def test_rotations_in_space() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        g, h = SO3.random(rng), SO3.random(rng)
        np.testing.assert_allclose(g @ g.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(g) == pytest.approx(1)
        np.testing.assert_allclose(SO3.compose(g, SO3.inverse(g)), SO3.identity, atol=1e-12)
        assert SO3.distance(SO3.compose(h, g), SO3.compose(h, g)) == pytest.approx(0, abs=1e-6)
        assert SO3.distance(SO3.compose(h, SO3.identity), SO3.compose(h, g)) == pytest.approx(
            SO3.distance(SO3.identity, g)
        )
    tilt = np.eye(3)
    tilt[:2, :2] = rotation_matrix(30)
    assert SO3.distance(SO3.identity, tilt) == pytest.approx(30)


def test_random_elements_are_even() -> None:
    drawn = np.bincount([D4.random(np.random.default_rng(seed)) for seed in range(800)])
    assert len(drawn) == 8
    assert drawn.min() > 60
    # Even in SO(3): the angle of a rotation has mean pi / 2 + 2 / pi (Miles 1965).
    rng = np.random.default_rng(1)
    angles = [SO3.distance(SO3.identity, SO3.random(rng)) for _ in range(4000)]
    assert np.mean(angles) == pytest.approx(np.rad2deg(np.pi / 2 + 2 / np.pi), abs=2)


@pytest.mark.parametrize("group", [C4, D4, C8], ids=lambda group: group.name)
def test_logits_are_acted_on_from_the_left(group: FiniteGroup) -> None:
    logits = torch.randn(2, group.order)
    for g in range(group.order):
        acted = group.act_on_logits(logits, g)
        for h in range(group.order):
            source = group.compose(group.inverse(g), h)
            assert torch.equal(acted[:, h], logits[:, source])
    assert torch.equal(C4.act_on_logits(logits[:, :4], 1), logits[:, :4].roll(1, -1))


def test_groups_by_name() -> None:
    assert find_group("d4") is D4
    with pytest.raises(InputError, match="group is 'C5'; expected one of: C4, C8, C16, D4"):
        find_group("C5")


def test_which_groups_resample_and_which_mirror() -> None:
    assert [group.is_exact for group in (C4, D4, C8)] == [True, True, False]
    assert [group.has_mirrors for group in (C4, D4, C8)] == [False, True, False]


@pytest.mark.parametrize("group", [C4, D4, C8], ids=lambda group: group.name)
def test_the_nearest_element(group: FiniteGroup) -> None:
    for g in range(group.order):
        for angle_deg in (-20.0, 0.0, 20.0):
            matrix = group.matrix(g) @ rotation_matrix(angle_deg)
            assert group.nearest(matrix) == g


@pytest.mark.parametrize("group", [C4, C8, C16], ids=lambda group: group.name)
def test_evidence_of_mirror_images(group: FiniteGroup) -> None:
    """Turning a photo, then mirroring it, is mirroring it, then turning it the other way."""
    logits = torch.arange(3.0 * group.order).reshape(3, -1)
    assert torch.equal(group.mirror_logits(group.mirror_logits(logits)), logits)
    for g in range(group.order):
        turned = group.mirror_logits(group.act_on_logits(logits, g))
        back = group.act_on_logits(group.mirror_logits(logits), group.inverse(g))
        assert torch.equal(turned, back)
