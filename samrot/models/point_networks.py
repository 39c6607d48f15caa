"""Networks that classify clouds, or label their points: PointNet and DGCNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samrot import weights
from samrot.errors import InputError, check_choice
from samrot.runtime.devices import find_device

_FORMAT = "samrot-point-network"
_HEADER = {"network": (str,), "classes": (list,), "parts": (bool,), "options": (dict,)}


def _block(in_channels: int, out_channels: int, slope: float = 0.0) -> nn.Sequential:
    """The same layer for each point: (B, in_channels, N) to (B, out_channels, N)."""
    return nn.Sequential(
        nn.Conv1d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm1d(out_channels),
        nn.LeakyReLU(slope),
    )


class PointNet(nn.Module):
    """Features of each point alone, and their maximum; without the transformer networks.

    Args:
        widths: channels of the layers.
        embedding: channels of the last one.
    Source: Qi et al. 2017 (arXiv 1612.00593), as Wang et al. 2019 compare with it.
    """

    def __init__(self, widths: Sequence[int] = (64, 64, 64, 128), embedding: int = 1024) -> None:
        super().__init__()
        sizes = (3, *widths)
        self.layers = nn.Sequential(*(_block(a, b) for a, b in zip(sizes, widths, strict=False)))
        self.last = _block(sizes[-1], embedding)
        self.point_channels, self.cloud_channels = sizes[-1], embedding

    def forward(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 3) to features of the points, (B, C, N), and of the clouds, (B, D)."""
        points = self.layers(clouds.transpose(1, 2))
        return points, self.last(points).amax(dim=-1)


class EdgeConv(nn.Module):
    """Maximum, over the nearest neighbours, of a layer on (neighbour - point, point).

    The layer is linear before its norm, so that it is applied to the points, not to the edges.
    """

    def __init__(self, in_channels: int, out_channels: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.of_neighbour = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.of_point = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, N) to (B, out_channels, N)."""
        nearest = nearest_points(features.detach(), self.neighbours)
        there = self.of_neighbour(features)
        here = (self.of_point(features) - there)[..., None]
        batch, channels, count = there.shape
        index = nearest.flatten(1)[:, None].expand(-1, channels, -1)
        edges = there.gather(2, index).view(batch, channels, count, -1) + here
        return F.leaky_relu(self.norm(edges), 0.2).amax(dim=-1)


def nearest_points(features: Tensor, neighbours: int) -> Tensor:
    """(B, C, N) to (B, N, K): K nearest in the space of features, the point itself among them."""
    inner = features.transpose(1, 2) @ features
    lengths = (features**2).sum(dim=1)
    nearness = 2 * inner - lengths[:, None]  # the point's own length does not change the order
    return nearness.topk(min(neighbours, features.shape[-1]), dim=-1).indices


class DGCNN(nn.Module):
    """Edge convolutions, each over the neighbours in the features of the one before.

    Args:
        widths: channels of the edge convolutions.
        embedding: channels of the last layer.
        neighbours: number of nearest points; all of them in a smaller cloud.
    Source: Wang et al. 2019 (arXiv 1801.07829).
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 64, 128, 256),
        embedding: int = 1024,
        neighbours: int = 20,
    ) -> None:
        super().__init__()
        sizes = zip((3, *widths), widths, strict=False)
        self.edges = nn.ModuleList(EdgeConv(a, b, neighbours) for a, b in sizes)
        self.last = _block(sum(widths), embedding, slope=0.2)
        self.point_channels, self.cloud_channels = sum(widths), 2 * embedding

    def forward(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 3) to features of the points, (B, C, N), and of the clouds, (B, D)."""
        features, scales = clouds.transpose(1, 2), []
        for edge in self.edges:
            features = edge(features)
            scales.append(features)
        points = torch.cat(scales, dim=1)
        last = self.last(points)
        return points, torch.cat([last.amax(dim=-1), last.mean(dim=-1)], dim=1)


# Name -> backbone: features of points and of clouds.
POINT_NETWORKS: dict[str, Callable[..., Any]] = {"pointnet": PointNet, "dgcnn": DGCNN}


class PointNetwork(nn.Module):
    """A backbone and a head: scores of a cloud for each class, or of its points for each part.

    Args:
        name: a key of ``POINT_NETWORKS``.
        classes: names of the classes, or of the parts.
        options: options of the backbone.
        parts: label the points, not the cloud.

    Raises:
        InputError: if the name or an option is unknown.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        options: dict[str, Any],
        *,
        parts: bool = False,
    ) -> None:
        super().__init__()
        check_choice("network.name", name, POINT_NETWORKS)
        self.name, self.classes, self.parts, self.options = name, list(classes), parts, options
        try:
            self.backbone = POINT_NETWORKS[name](**options)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise InputError(f"network.options {options} do not fit {name}: {error}") from error
        channels = self.backbone.cloud_channels
        if parts:
            channels += self.backbone.point_channels
        self.head = nn.Sequential(
            _block(channels, 256, slope=0.2), nn.Dropout(0.5), _block(256, 128, slope=0.2),
            nn.Dropout(0.5), nn.Conv1d(128, len(classes), 1),
        )  # fmt: skip

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) to scores: (B, K) of the clouds, or (B, N, K) of the points."""
        points, whole = self.backbone(clouds)
        if not self.parts:
            return self.head(whole[..., None])[..., 0]
        around = whole[..., None].expand(-1, -1, points.shape[-1])
        return self.head(torch.cat([points, around], dim=1)).transpose(1, 2)


def save_point_network(network: PointNetwork, path: str | Path) -> None:
    """Write a checkpoint: safetensors, whose header holds all that rebuilding it needs."""
    header = {
        "network": network.name,
        "classes": network.classes,
        "parts": network.parts,
        "options": network.options,
    }
    weights.save(path, network.state_dict(), format_name=_FORMAT, header=header)


def load_point_network(path: str | Path, *, name: str, device: str = "cpu") -> PointNetwork:
    """A trained network, ready for inference.

    Args:
        path: path of a checkpoint that ``samrot train-points`` wrote.
        name: what it is expected to be, a key of ``POINT_NETWORKS``.
        device: where it runs.

    Raises:
        InputError: if the file is no such checkpoint, of another network, or damaged.
    """
    device = find_device(device)
    check_choice("network.name", name, POINT_NETWORKS)
    state, header = weights.load(path, format_name=_FORMAT)
    weights.check_header(header, _HEADER, path)
    weights.check_network("network.name", name, header, path)
    build = partial(PointNetwork, name, header["classes"], header["options"], parts=header["parts"])
    network = weights.build_filled(build, state, path)
    return network.eval().requires_grad_(False).to(device)
