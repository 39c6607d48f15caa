"""What is made of a weight, kept from call to call while the weight is frozen and the same."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from samrot.weights.seen import SeenWeight

# Beside the modules, not in them: some of it can be neither copied nor pickled.
_kept: WeakKeyDictionary[nn.Module, tuple[SeenWeight, Tensor]] = WeakKeyDictionary()


def is_frozen(weight: Tensor) -> bool:
    """Whether what is made of a weight may be kept: nothing trains it, and its changes count."""
    is_fixed = not (weight.requires_grad or weight.is_inference())
    return is_fixed and not torch.compiler.is_compiling()


def made_once(module: nn.Module, weight: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """What ``make`` makes of the weight of a module; of a frozen one again only once it changed."""
    if not is_frozen(weight):
        return make()
    kept = _kept.get(module)
    if kept is None or not kept[0].is_still(weight):
        with torch.inference_mode(False):  # else it could never be differentiated through
            kept = _kept[module] = SeenWeight.of(weight), make()
    return kept[1]
