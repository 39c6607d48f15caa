"""Networks for clouds: shapes, order of the points, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from samrot import weights
from samrot.errors import InputError
from samrot.models.point_networks import (
    POINT_NETWORKS,
    EdgeConv,
    PointNetwork,
    load_point_network,
    nearest_points,
    save_point_network,
)

SMALL: dict[str, dict[str, Any]] = {
    "pointnet": {"widths": (8, 8), "embedding": 16},
    "dgcnn": {"widths": (8, 8), "embedding": 16, "neighbours": 4},
}
CLASSES = ("disc", "pole", "cone")


def network(name: str, *, parts: bool = False) -> PointNetwork:
    torch.manual_seed(0)
    return PointNetwork(name, CLASSES, SMALL[name], parts=parts).eval()


@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize("name", POINT_NETWORKS)
def test_scores_do_not_depend_on_the_order_of_the_points(name: str, count: int) -> None:
    clouds, order = torch.randn(2, count, 3), torch.randperm(count)
    scores = network(name)(clouds)
    assert scores.shape == (2, 3)
    torch.testing.assert_close(network(name)(clouds[:, order]), scores)


@pytest.mark.parametrize("name", POINT_NETWORKS)
def test_parts_follow_the_points(name: str) -> None:
    clouds, order = torch.randn(2, 20, 3), torch.randperm(20)
    scores = network(name, parts=True)(clouds)
    assert scores.shape == (2, 20, 3)
    torch.testing.assert_close(network(name, parts=True)(clouds[:, order]), scores[:, order])


def test_edge_convolution_is_that_of_the_edges() -> None:
    torch.manual_seed(0)
    layer = EdgeConv(5, 7, neighbours=4).train()
    features = torch.randn(2, 5, 11)
    distances = torch.cdist(features.mT, features.mT)
    nearest = distances.topk(4, largest=False).indices
    assert torch.equal(nearest_points(features, 4).sort().values, nearest.sort().values)
    expected = []
    weight = torch.cat([layer.of_neighbour.weight, layer.of_point.weight], dim=1)[..., None]
    there = torch.stack([features[b][:, nearest[b]] for b in range(2)])
    here = features[..., None].expand_as(there)
    edges = F.conv2d(torch.cat([there - here, here], dim=1), weight)
    expected = F.leaky_relu(layer.norm(edges), 0.2).amax(dim=-1)
    torch.testing.assert_close(layer(features), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", POINT_NETWORKS)
def test_a_checkpoint_is_the_same_network(name: str, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_point_network(network(name, parts=True), path)
    loaded = load_point_network(path, name=name)
    assert (loaded.classes, loaded.parts, loaded.training) == (list(CLASSES), True, False)
    clouds = torch.randn(2, 20, 3)
    torch.testing.assert_close(
        loaded(clouds), network(name, parts=True)(clouds), atol=1e-2, rtol=1e-2
    )


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_point_network(network("pointnet"), path)
    with pytest.raises(InputError, match="is a pointnet; set network.name to pointnet"):
        load_point_network(path, name="dgcnn")
    with pytest.raises(InputError, match="network.name is 'x'; expected one of: pointnet, dgcnn"):
        load_point_network(path, name="x")
    with pytest.raises(InputError, match=r"network.options \{'k': 3\} do not fit dgcnn"):
        PointNetwork("dgcnn", CLASSES, {"k": 3})
    state, header = weights.load(path, format_name="samrot-point-network")
    for change, message in (
        ({"parts": "no"}, "its header has the parts 'no'; expected a value of type bool: restore"),
        ({"options": {"widths": [10**12]}}, "of another architecture"),
        ({"options": {"widths": [-1]}}, "do not fit pointnet"),
    ):
        changed = {**header, **change}
        weights.save(path, state, format_name=changed.pop("format"), header=changed)
        with pytest.raises(InputError, match=message):
            load_point_network(path, name="pointnet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="truncated or not safetensors"):
        load_point_network(path, name="pointnet")
