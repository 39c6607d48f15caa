"""Where things run."""

from __future__ import annotations

from functools import cache

import torch

from samrot.errors import InputError


@cache  # it is asked for at every step of a training
def is_fast_in_bfloat16(device: str) -> bool:
    """Whether a device has instructions for bfloat16; a CPU without them is far slower in it."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supports = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in supports)


def find_device(device: str) -> str:
    """A device that this machine has.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``: the fastest that is there.

    Raises:
        InputError: naming it, and why it cannot be used.
    """
    if device == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return next((name for name, is_there in there.items() if is_there), "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"device is {device!r}, which cannot be used here ({reason}); expected cpu, cuda, "
            "cuda:N, mps or auto; samrot doctor says what this machine has"
        ) from error
    return device
