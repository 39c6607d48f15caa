"""A module computed from another one's weights, and computed again when these change."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from samrot.weights.seen import SeenWeight


class Derived:
    """What a function makes of a module, made again once its weights have changed or moved.

    Weights loaded or trained later therefore count, as they do in the module itself.

    Args:
        source: the module; it stays as it is.
        derive: makes the derived module; it may share weights with the source.
    """

    def __init__(self, source: nn.Module, derive: Callable[[nn.Module], nn.Module]) -> None:
        self._source = source
        self._derive = derive
        self._seen: list[SeenWeight] = []
        self._module: nn.Module | None = None

    def __call__(self) -> nn.Module:
        """The derived module."""
        weights = [*self._source.parameters(), *self._source.buffers()]
        is_same = len(weights) == len(self._seen) and all(
            seen.is_still(weight) for seen, weight in zip(self._seen, weights, strict=True)
        )
        if self._module is None or not is_same:
            self._module = self._derive(self._source)
            self._seen = list(map(SeenWeight.of, weights))
        return self._module


def in_dtype(module: nn.Module, dtype: torch.dtype, *, channels_last: bool = False) -> nn.Module:
    """A copy of a module in another type or memory layout; it shares weights that stay as they are.

    Args:
        module: the module; it stays as it is.
        dtype: type of the weights.
        channels_last: memory layout of convolutions.
    """
    as_they_are = dtype == torch.float32 and not channels_last
    shared = {id(parameter): parameter for parameter in module.parameters()}
    own = copy.deepcopy(module, shared if as_they_are else None).to(dtype)
    return own.to(memory_format=torch.channels_last) if channels_last else own
