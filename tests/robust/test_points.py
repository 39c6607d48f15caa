"""Clouds go through their canonical frame; the gradient goes back through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from samrot.canonicalizers.vn_rotation import VNRotation
from samrot.errors import InputError
from samrot.geometry.groups import SO3
from samrot.geometry.space import move_points
from samrot.models.point_networks import PointNetwork
from samrot.robust.module import CanonicalizedModule
from samrot.robust.points import walk_points

SMALL = {"widths": [8, 8], "embedding": 16}


@pytest.mark.parametrize("parts", [False, True])
def test_what_a_network_says_does_not_depend_on_how_a_cloud_is_turned(parts: bool) -> None:
    torch.manual_seed(0)
    network = PointNetwork("pointnet", "abc", SMALL, parts=parts)
    module = CanonicalizedModule(network, VNRotation(8, 1), "pointcloud").double().eval()
    rng = np.random.default_rng(0)
    cloud, turn = torch.from_numpy(rng.normal(size=(1, 20, 3))), torch.from_numpy(SO3.random(rng))
    (scores, pose), (turned_scores, turned_pose) = module(cloud), module(cloud @ turn.T)
    torch.testing.assert_close(turned_scores, scores, atol=1e-10, rtol=0)
    torch.testing.assert_close(turned_pose, turn @ pose, atol=1e-10, rtol=0)
    assert float((network(cloud @ turn.T) - network(cloud)).detach().abs().max()) > 1e-5


def test_a_rotation_that_is_known_is_undone() -> None:
    rng = np.random.default_rng(0)
    clouds = torch.from_numpy(rng.normal(size=(4, 20, 3)))
    turns = torch.from_numpy(np.stack([SO3.random(rng) for _ in range(4)]))
    torch.testing.assert_close(walk_points(move_points(clouds, turns), turns, lambda x: x), clouds)


def test_the_gradient_reaches_the_canonicalizer() -> None:
    torch.manual_seed(0)
    canonicalizer = VNRotation(8, 1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    module = CanonicalizedModule(network, canonicalizer, "pointcloud")
    module(torch.randn(2, 20, 3))[0].square().sum().backward()
    for parameter in canonicalizer.parameters():
        assert parameter.grad is not None
        assert 0 < float(parameter.grad.abs().max()) < float("inf")


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="task is 'x'; expected one of: pointcloud"):
        CanonicalizedModule(nn.Identity(), nn.Identity(), "x")
