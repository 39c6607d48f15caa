"""One process or many, on one machine or several (Lightning Fabric)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from samrot.errors import InputError
from samrot.runtime.locks import die_with_parent

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launch(device: str, devices: int = 1, nodes: int = 1) -> Fabric:
    """Start, or join, the processes of a run.

    With more than one process the same command is started again for each of the others; under
    ``torchrun``, which starts them itself, nothing is. A process that fails takes the others down.

    Args:
        device: cpu, cuda, cuda:N (one process only), mps, or auto.
        devices: processes on this machine.
        nodes: machines; with more than one, start samrot by ``torchrun``.

    Raises:
        InputError: if this machine has no such devices.
    """
    from lightning_fabric import Fabric

    if min(devices, nodes) < 1:
        raise InputError(f"devices is {devices} on {nodes} nodes; expected at least 1 of each")
    kind, _, index = device.partition(":")
    if index and devices > 1:
        raise InputError(
            f"device is {device!r} with {devices} devices; expected {kind!r} for more than one"
        )
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=[int(index)] if index else devices,
            num_nodes=nodes,
            strategy="ddp_find_unused_parameters_true" if devices * nodes > 1 else "auto",
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"device is {device!r} with {devices} devices; expected what this machine has "
            f"({error}); samrot doctor lists it"
        ) from error
    fabric.launch()
    if fabric.global_rank and not os.environ.get("TORCHELASTIC_RUN_ID"):
        die_with_parent()  # torchrun sees to that itself
    return fabric
