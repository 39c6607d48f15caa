"""Every layer of vector neurons turns as its input turns; a layer with a bias does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samrot.geometry.groups import SO3
from samrot.layers.vector_neurons import (
    VNBlock,
    VNLeakyReLU,
    VNLinear,
    VNMaxPool,
    VNMeanPool,
    VNNorm,
)

LAYERS = {
    "linear": lambda: VNLinear(5, 7),
    "leaky_relu": lambda: VNLeakyReLU(5),
    "norm": lambda: VNNorm(5),
    "max_pool": lambda: VNMaxPool(5),
    "mean_pool": lambda: VNMeanPool(5),
    "block": lambda: VNBlock(5, 6),
}


class Biased(VNLinear):
    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward(vectors) + 1


def law_violation(layer: nn.Module) -> float:
    torch.manual_seed(0)
    vectors = torch.randn(2, 5, 3, 11).double()
    turn = torch.from_numpy(SO3.random(np.random.default_rng(0)))
    difference = layer(turn @ vectors) - turn @ layer(vectors)
    return float(difference.abs().max().detach())


@pytest.mark.parametrize("name", LAYERS)
def test_law(name: str) -> None:
    torch.manual_seed(1)
    layer = LAYERS[name]().double().train()
    assert law_violation(layer) < 1e-12


def test_a_bias_breaks_the_law() -> None:
    assert law_violation(Biased(5, 7).double()) > 0.1


def test_leaky_relu_keeps_what_lies_along_its_direction() -> None:
    layer = VNLeakyReLU(1, slope=0.25).double()
    layer.direction.weight.data[:] = 1.0  # along itself: nothing is cut
    vectors = torch.randn(1, 1, 3, 4).double()
    torch.testing.assert_close(layer(vectors), vectors)
    layer.direction.weight.data[:] = -1.0  # against itself: all of it is
    torch.testing.assert_close(layer(vectors), 0.25 * vectors)


def test_max_pool_takes_the_vector_that_reaches_furthest() -> None:
    layer = VNMaxPool(1)
    layer.direction.weight.data[:] = 1.0
    vectors = torch.randn(1, 1, 3, 9)
    longest = int(vectors.norm(dim=2).argmax())
    assert torch.equal(layer(vectors)[..., 0], vectors[..., longest])


def test_lengths_after_the_norm() -> None:
    normed = VNNorm(5)(7 * torch.randn(2, 5, 3, 11))
    torch.testing.assert_close((normed**2).sum(2).mean((1, 2)), torch.ones(2))
