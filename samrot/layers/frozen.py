"""What is made of a weight, kept from call to call while the weight is frozen and the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn


class _Made(NamedTuple):
    weight: Tensor  # of which it was made: while that lives, no other lies at its address
    version: int
    made: Tensor


# Beside the modules, not in them: some of it can be neither copied nor pickled.
_kept: WeakKeyDictionary[nn.Module, _Made] = WeakKeyDictionary()


def made_once(module: nn.Module, weight: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """What ``make`` makes of the weight of a module, made again only where that has changed.

    Torch counts changes, but for those in place through ``weight.data``, which are not seen.
    """
    has_version = not weight.is_inference()
    if weight.requires_grad or not has_version or torch.compiler.is_compiling():
        return make()
    kept = _kept.get(module)
    if kept is None or not _is_same(kept, weight):
        with torch.inference_mode(False):  # else it could never be differentiated through
            kept = _kept[module] = _Made(weight.detach(), weight._version, make())
    return kept.made


def _is_same(kept: _Made, weight: Tensor) -> bool:
    return (
        kept.weight.data_ptr() == weight.data_ptr()
        and kept.weight.dtype == weight.dtype
        and kept.version == weight._version
    )
