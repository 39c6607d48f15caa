"""Canonicalizers: name -> network, checkpoints, and the bundled weights.

To add one: a file with an ``nn.Module`` that obeys the roll law, and a line in ``CANONICALIZERS``;
``tests/canonicalizers`` then tests its law.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from samrot import weights
from samrot.canonicalizers.base import Canonicalizer, PosePrediction
from samrot.canonicalizers.c4_networks import GCNN, GWRN
from samrot.canonicalizers.escnn_wrn import EscnnWRN, PlainWRN
from samrot.canonicalizers.orbit_cnn import OrbitCNN
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.errors import InputError, check_choice

__all__ = [
    "BUNDLED",
    "CANONICALIZERS",
    "Canonicalizer",
    "PosePrediction",
    "Thumbnail",
    "build_canonicalizer",
    "load_canonicalizer",
    "save_canonicalizer",
]

# Architecture -> network to train. The escnn one is saved, and loaded, as its plain export.
CANONICALIZERS: dict[str, Callable[..., nn.Module]] = {
    "gcnn": GCNN,
    "gwrn": GWRN,
    "escnn_wrn": EscnnWRN,
    "orbit_cnn": OrbitCNN,
}
BUNDLED = {"c4": "canonicalizer_c4.safetensors", "c4_aspect": "canonicalizer_c4_aspect.safetensors"}
_FORMAT = "samrot-canonicalizer"


def build_canonicalizer(
    architecture: str,
    *,
    size: int = 97,
    frame: str = "square",
    mirror_average: bool = True,
    aspect_log_odds: float = 0.0,
    **options: Any,
) -> Canonicalizer:
    """A new canonicalizer with random weights.

    Args:
        architecture: a key of ``CANONICALIZERS``.
        size, frame: of the ``Thumbnail``.
        mirror_average, aspect_log_odds: as in ``Canonicalizer``.
        options: of the network (``widths``, ``blocks``, ``dropout``).

    Raises:
        InputError: if the name or an option is unknown.
    """
    check_choice("canonicalizer architecture", architecture, CANONICALIZERS)
    return _assemble(
        CANONICALIZERS[architecture], size, frame, mirror_average, aspect_log_odds, options
    )


def save_canonicalizer(
    canonicalizer: Canonicalizer, path: str | Path, *, architecture: str, options: dict[str, Any]
) -> None:
    """Write a checkpoint (safetensors; the header holds all that rebuilding it needs)."""
    network = canonicalizer.network
    if isinstance(network, EscnnWRN):
        network = network.export()
    header = {
        "architecture": architecture,
        "size": canonicalizer.thumbnail.size,
        "frame": canonicalizer.thumbnail.frame,
        "mirror_average": canonicalizer.mirror_average,
        "aspect_log_odds": canonicalizer.aspect_log_odds,
        "options": options,
    }
    weights.save(path, network.state_dict(), format_name=_FORMAT, header=header)


def load_canonicalizer(name: str | Path = "c4", *, device: str = "cpu") -> Canonicalizer:
    """A trained canonicalizer, ready for inference.

    Args:
        name: ``"c4"`` (bundled default, blind to the aspect ratio), ``"c4_aspect"`` (bundled, sees
            the whole photo), or the path of a checkpoint that ``samrot train`` wrote.
        device: where it runs.

    Raises:
        InputError: if the name is unknown, or the file is no such checkpoint or damaged.
    """
    path = weights.bundled(BUNDLED[str(name)]) if str(name) in BUNDLED else Path(name)
    if not path.is_file():
        raise InputError(
            f"canonicalizer {str(name)!r} is neither bundled nor a file; expected one of "
            f"{', '.join(BUNDLED)}, or the path of a checkpoint that samrot train wrote"
        )
    state, header = weights.load(path, format_name=_FORMAT)
    architecture = str(header["architecture"])
    check_choice(f"{path}: canonicalizer architecture", architecture, CANONICALIZERS)
    builder = PlainWRN if architecture == "escnn_wrn" else CANONICALIZERS[architecture]
    canonicalizer = _assemble(
        builder,
        header["size"],
        header["frame"],
        header["mirror_average"],
        header["aspect_log_odds"],
        header["options"],
    )
    weights.load_into(canonicalizer.network, state, path)
    return canonicalizer.eval().requires_grad_(False).to(device)


def _assemble(
    builder: Callable[..., nn.Module],
    size: int,
    frame: str,
    mirror_average: bool,
    aspect_log_odds: float,
    options: dict[str, Any],
) -> Canonicalizer:
    try:
        network = builder(**options)
    except TypeError as error:
        raise InputError(f"canonicalizer options {options} do not fit: {error}") from error
    return Canonicalizer(
        network,
        Thumbnail(size, frame),
        mirror_average=mirror_average,
        aspect_log_odds=aspect_log_odds,
    )
