"""A module computed from another one's weights, and computed again when these change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn


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
        self._version: list[tuple[int, torch.device, int]] = []
        self._module: nn.Module | None = None

    def __call__(self) -> nn.Module:
        """The derived module."""
        tensors = chain(self._source.parameters(), self._source.buffers())
        version = [(id(t), t.device, 0 if t.is_inference() else t._version) for t in tensors]
        if self._module is None or version != self._version:
            self._module, self._version = self._derive(self._source), version
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
