"""Modules filled with the weights of a file: every tensor, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from samrot.errors import InputError
from samrot.weights.files import FLOATS, kind_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Module = TypeVar("Module", bound="nn.Module")
_INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")
_DAMAGED = "it is damaged, or no checkpoint of a trained model: restore or train it again"


def load_into(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Fill a module, every tensor and nothing else.

    Raises:
        InputError: as ``check_fit``.
    """
    check_fit(module, state, path)
    module.load_state_dict(state)


def build_filled(build: Callable[[], Module], state: dict[str, Tensor], path: str | Path) -> Module:
    """A module with the weights of a checkpoint; no memory is taken for one they do not fill.

    Args:
        build: makes it, with random weights.
        state: weights of the checkpoint.
        path: path of the checkpoint, for messages.

    Raises:
        InputError: as ``check_fit``.
    """
    import torch

    with torch.device("meta"):
        check_fit(build(), state, path)
    with unfilled():
        module = build()
    module.load_state_dict(state)
    return module


@contextmanager
def unfilled() -> Iterator[None]:
    """Modules built within it get no random weights, which take seconds; all are to be loaded."""
    import torch
    from torch.overrides import TorchFunctionMode

    drawn = (torch.Tensor.uniform_, torch.Tensor.normal_)

    class Unfilled(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func in drawn or getattr(func, "__module__", None) == "torch.nn.init":
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            return func(*args, **kwargs)

    with Unfilled():
        yield


def check_fit(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Refuse weights that a module, which may be on the meta device, would not be filled by.

    Raises:
        InputError: if names or shapes differ, naming the first that does.
    """
    import torch

    expected = module.state_dict()
    remedy = "choose the name that this checkpoint was made for"
    for name in sorted(expected.keys() ^ state.keys()):
        side = "lacks" if name in expected else "has an unknown"
        raise InputError(
            f"checkpoint {path} is of another architecture: it {side} {name}; {remedy}"
        )
    for name, tensor in expected.items():
        _check_kind(name, state[name], tensor, path)
        if tensor.shape != state[name].shape:
            raise InputError(
                f"checkpoint {path} is of another architecture: {name} has shape "
                f"{tuple(state[name].shape)}, expected {tuple(tensor.shape)}; {remedy}"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            raise InputError(f"checkpoint {path}: {name} holds NaN or infinity; {_DAMAGED}")


def _check_kind(name: str, given: Tensor, expected: Tensor, path: str | Path) -> None:
    """Refuse what is not stored as plain numbers, or is another kind of number."""
    import torch

    kinds = FLOATS if expected.is_floating_point() else _INTEGERS
    plain = given.layout is torch.strided and not (given.is_nested or given.is_meta)
    if not plain or kind_of(given) not in kinds:
        held = given.dtype if plain else f"a tensor of layout {given.layout} on {given.device}"
        raise InputError(
            f"checkpoint {path}: {name} holds {held}, expected {expected.dtype}; {_DAMAGED}"
        )
