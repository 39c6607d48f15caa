"""What is made of a weight, kept from call to call while the weight is frozen and the same."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# Beside the modules, not in them: some of it can be neither copied nor pickled.
_kept: WeakKeyDictionary[nn.Module, tuple[object, Tensor]] = WeakKeyDictionary()


def made_once(module: nn.Module, weight: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """What ``make`` makes of the weight of a module, made again only where that has changed."""
    if weight.requires_grad or weight.is_inference():  # which has no version
        return make()
    version = (weight.data_ptr(), weight._version, weight.dtype)
    kept = _kept.get(module)
    if kept is None or kept[0] != version:
        with torch.inference_mode(False):  # else it could never be differentiated through
            kept = _kept[module] = version, make()
    return kept[1]
