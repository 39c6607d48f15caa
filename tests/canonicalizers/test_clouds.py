"""Canonicalizers of clouds: R(Qx) = Q R(x), whatever the order of the points; degenerate clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samrot import weights
from samrot.canonicalizers.clouds import (
    CLOUD_CANONICALIZERS,
    CloudCanonicalizer,
    load_cloud_canonicalizer,
    save_cloud_canonicalizer,
)
from samrot.errors import InputError
from samrot.geometry.groups import SO3

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CLOUD_CANONICALIZERS),
    ("invariant_rotation", {"channels": 4, "hidden": 8, "scales": 0}),
    ("vn_rotation", {"channels": 8, "depth": 1, "scales": 2, "pool": "max"}),
]
LINE = np.linspace(-1, 1, 9)[:, None] * [1.0, 2.0, 3.0]


def canonicalizer(name: str, options: dict[str, Any]) -> CloudCanonicalizer:
    torch.manual_seed(0)
    return CloudCanonicalizer(name, options).eval()


def law_violation(network: nn.Module, count: int) -> float:
    rng = np.random.default_rng(count)
    cloud, turn = (
        torch.from_numpy(rng.normal(size=(1, count, 3))),
        torch.from_numpy(SO3.random(rng)),
    )
    with torch.no_grad():
        return float((network(cloud @ turn.T) - turn @ network(cloud)).abs().max())


@pytest.mark.parametrize("count", [3, 4, 10, 200])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_law(name: str, options: dict[str, Any], count: int) -> None:
    assert law_violation(canonicalizer(name, options).double(), count) < 1e-10


def test_a_plain_network_breaks_the_law() -> None:
    class Plain(nn.Module):
        def forward(self, clouds: Tensor) -> Tensor:
            return torch.linalg.qr(clouds[:, :3] + torch.eye(3))[0]

    assert law_violation(Plain(), 10) > 0.01


@pytest.mark.parametrize(("name", "options"), CASES)
def test_order_place_and_size_do_not_matter(name: str, options: dict[str, Any]) -> None:
    network = canonicalizer(name, options).double()
    cloud = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 50, 3)))
    rotation = network(cloud)
    for same in (cloud[:, torch.randperm(50)], 3 * cloud + 5):
        torch.testing.assert_close(network(same), rotation, atol=1e-10, rtol=0)
    assert torch.equal(network(cloud), rotation)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(
    "cloud",
    [np.zeros((5, 3)), np.full((5, 3), 0.3), LINE, np.tile(LINE[:1], (4, 1)), np.eye(3)],
    ids=["zero", "one place", "line", "repeated", "triangle"],
)
def test_degenerate_clouds_get_a_rotation(
    name: str, options: dict[str, Any], cloud: np.ndarray
) -> None:
    network = canonicalizer(name, options)
    rotation = network.rotation(cloud)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
    if np.ptp(cloud, axis=0).max() == 0:
        np.testing.assert_array_equal(rotation, network.rotation(np.zeros((3, 3))))
    given = torch.tensor(cloud[None], dtype=torch.float32, requires_grad=name != "principal_axes")
    if given.requires_grad:
        network(given).sum().backward()
        assert given.grad is not None and bool(given.grad.isfinite().all())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_checkpoint_is_the_same_canonicalizer(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    network = canonicalizer(name, options)
    save_cloud_canonicalizer(network, tmp_path / "c.safetensors")
    loaded = load_cloud_canonicalizer(tmp_path / "c.safetensors")
    cloud = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(loaded.rotation(cloud), network.rotation(cloud), atol=1e-2)
    save_cloud_canonicalizer(loaded, tmp_path / "again.safetensors")
    again = load_cloud_canonicalizer(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(again.rotation(cloud), loaded.rotation(cloud))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="checkpoint nowhere does not exist; expected a samrot-clo"
    ):
        load_cloud_canonicalizer("nowhere")
    with pytest.raises(InputError, match="architecture is 'x'; expected one of: vn_rotation, inv"):
        CloudCanonicalizer("x", {})
    with pytest.raises(InputError, match=r"options \{'width': 3\} do not fit"):
        CloudCanonicalizer("vn_rotation", {"width": 3})
    with pytest.raises(InputError, match="pool is 'sum'; expected one of: mean, max"):
        CloudCanonicalizer("vn_rotation", {"pool": "sum"})
    with pytest.raises(InputError, match="cloud has 1 point; expected at least 3"):
        load_cloud_canonicalizer().rotation(np.zeros((1, 3)))
    path = tmp_path / "c.safetensors"
    save_cloud_canonicalizer(canonicalizer(*CASES[-1]), path)
    state, header = weights.load(path, format_name="samrot-cloud-canonicalizer")
    header["options"]["channels"] = 9
    weights.save(path, state, format_name=header.pop("format"), header=header)
    with pytest.raises(InputError, match="of another architecture: .* has shape"):
        load_cloud_canonicalizer(path)
