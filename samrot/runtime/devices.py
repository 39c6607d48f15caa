"""Where things run."""

from __future__ import annotations

import torch

from samrot.errors import InputError


def check_device(device: str) -> None:
    """Refuse a device that this machine has not.

    Raises:
        InputError: naming it, and why.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"device is {device!r}, which cannot be used here ({reason}); samrot doctor says what "
            "this machine has"
        ) from error
