"""Canonicalizers of clouds: their table, checkpoints, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samrot import weights
from samrot.canonicalizers.invariant_rotation import InvariantRotation
from samrot.canonicalizers.vn_rotation import PrincipalAxes, VNRotation
from samrot.errors import InputError, check_choice
from samrot.geometry.space import check_cloud
from samrot.runtime.devices import find_device

# Architecture -> network, (B, N, 3) to rotations (B, 3, 3), with R(Qx) = Q R(x).
CLOUD_CANONICALIZERS: dict[str, Callable[..., nn.Module]] = {
    "vn_rotation": VNRotation,
    "invariant_rotation": InvariantRotation,
    "principal_axes": PrincipalAxes,
}
SO3_NAME = "so3"  # the principal axes, which need no checkpoint
_FORMAT = "samrot-cloud-canonicalizer"
_HEADER = {"architecture": (str,), "options": (dict,)}


class CloudCanonicalizer(nn.Module):
    """Estimates the rotation that brought a cloud from its canonical frame.

    Args:
        architecture: a key of ``CLOUD_CANONICALIZERS``.
        options: options of its network.

    Raises:
        InputError: if the architecture or an option is unknown.
    """

    def __init__(self, architecture: str, options: dict[str, Any]) -> None:
        super().__init__()
        check_choice("canonicalizer architecture", architecture, CLOUD_CANONICALIZERS)
        self.architecture, self.options = architecture, options
        try:
            self.network = CLOUD_CANONICALIZERS[architecture](**options)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise InputError(f"canonicalizer options {options} do not fit: {error}") from error

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) to rotations, (B, 3, 3); in full precision: a rounded one would be none."""
        with torch.autocast(clouds.device.type, enabled=False):
            return self.network(clouds)

    @torch.no_grad()
    def rotation(self, cloud: np.ndarray) -> np.ndarray:
        """The rotation of one cloud, (N, 3), N >= 3, as (3, 3) float64.

        Raises:
            InputError: if it is no cloud.
        """
        points = torch.from_numpy(check_cloud(cloud, "cloud"))
        parameter = next(self.parameters(), points)
        rotation: np.ndarray = self(points.to(parameter)[None])[0].double().cpu().numpy()
        return rotation


@dataclass(kw_only=True)
class CloudCanonicalizerChoice:
    """Which canonicalizer of clouds.

    Args:
        name: so3 (the principal axes, which need no training), or the path of a checkpoint.
    """

    name: str = SO3_NAME

    def load(self, device: str) -> CloudCanonicalizer:
        """The canonicalizer, on that device."""
        return load_cloud_canonicalizer(self.name, device=device)


def save_cloud_canonicalizer(canonicalizer: CloudCanonicalizer, path: str | Path) -> None:
    """Write a checkpoint: safetensors, whose header holds all that rebuilding it needs."""
    header = {"architecture": canonicalizer.architecture, "options": canonicalizer.options}
    weights.save(path, canonicalizer.state_dict(), format_name=_FORMAT, header=header)


def load_cloud_canonicalizer(
    name: str | Path = SO3_NAME, *, device: str = "cpu"
) -> CloudCanonicalizer:
    """A canonicalizer of clouds, ready for inference.

    Args:
        name: ``"so3"`` (the principal axes), or the path of a checkpoint that
            ``samrot train-points`` wrote.
        device: where it runs.

    Raises:
        InputError: if there is no such file, or it is no such checkpoint or damaged.
    """
    device = find_device(device)
    if str(name) == SO3_NAME:
        canonicalizer = CloudCanonicalizer("principal_axes", {})
    else:
        state, header = weights.load(name, format_name=_FORMAT)
        weights.check_header(header, _HEADER, name)
        build = partial(CloudCanonicalizer, header["architecture"], header["options"])
        canonicalizer = weights.build_filled(build, state, name)
    return canonicalizer.eval().requires_grad_(False).to(device)
