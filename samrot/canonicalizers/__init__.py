"""Canonicalizers: name -> network, checkpoints, and the bundled weights.

To add one: a file with an ``nn.Module`` that obeys the roll law, and a line in ``CANONICALIZERS``;
``tests/canonicalizers`` then tests its law.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from samrot import weights
from samrot.canonicalizers.base import Canonicalizer, PosePrediction
from samrot.canonicalizers.c4_networks import GCNN, GWRN
from samrot.canonicalizers.escnn_wrn import EscnnWRN, PlainWRN
from samrot.canonicalizers.orbit_cnn import OrbitCNN, OrbitLite
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.devices import check_device
from samrot.errors import InputError, check_choice
from samrot.layers.efficientnet_lite import fold_published_weights

__all__ = [
    "BUNDLED",
    "CANONICALIZERS",
    "Canonicalizer",
    "PosePrediction",
    "Thumbnail",
    "as_canonicalizer",
    "build_canonicalizer",
    "load_canonicalizer",
    "load_imagenet_weights",
    "save_canonicalizer",
]

# Architecture -> network to train. The escnn one is saved, and loaded, as its plain export.
CANONICALIZERS: dict[str, Callable[..., nn.Module]] = {
    "gcnn": GCNN,
    "gwrn": GWRN,
    "escnn_wrn": EscnnWRN,
    "orbit_cnn": OrbitCNN,
    "orbit_lite0": partial(OrbitLite, 0),
    "orbit_lite1": partial(OrbitLite, 1),
    "orbit_lite2": partial(OrbitLite, 2),
}
# Name -> weights, and the log-odds of landscape photos being upright.
BUNDLED = {
    "c4": ("canonicalizer_c4.safetensors", 0.0),
    "c4_aspect": ("canonicalizer_c4.safetensors", 1.27),
}
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
        options: of the network (``widths``, ``blocks``, ``dropout``, ...).

    Raises:
        InputError: if the name or an option is unknown.
    """
    check_choice("canonicalizer architecture", architecture, CANONICALIZERS)
    return _assemble(
        CANONICALIZERS[architecture], size, frame, mirror_average, aspect_log_odds, options
    )


def load_imagenet_weights(canonicalizer: Canonicalizer) -> None:
    """Fill an ``orbit_lite*`` with the published ImageNet weights; its score stays as it is.

    Raises:
        InputError: if it is of another architecture, or the package of the weights is missing.
    """
    network = canonicalizer.network
    if not isinstance(network, OrbitLite):
        raise InputError(
            f"init is imagenet, but there are no ImageNet weights for {type(network).__name__}; "
            "choose an architecture orbit_lite0, 1 or 2, or the path of a checkpoint"
        )
    variant = network.features.variant
    folded = fold_published_weights(
        weights.imagenet_lite(variant),
        variant,
        canonicalizer.pixel_mean,
        canonicalizer.pixel_std,
    )
    own = network.features.state_dict()
    network.features.load_state_dict({name: folded[name] for name in own})


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


def as_canonicalizer(
    canonicalizer: Canonicalizer | str | Path | None, device: str
) -> Canonicalizer | None:
    """A canonicalizer that may be given as a name or path for ``load_canonicalizer``."""
    if isinstance(canonicalizer, str | Path):
        return load_canonicalizer(canonicalizer, device=device)
    return canonicalizer


def load_canonicalizer(name: str | Path = "c4", *, device: str = "cpu") -> Canonicalizer:
    """A trained canonicalizer, ready for inference.

    Args:
        name: ``"c4"`` (bundled default, blind to the aspect ratio), ``"c4_aspect"`` (bundled, the
            same and the evidence of the aspect ratio), or the path of a checkpoint that ``samrot
            train`` wrote.
        device: where it runs.

    Raises:
        InputError: if the name is unknown, or the file is no such checkpoint or damaged.
    """
    check_device(device)
    path, aspect_log_odds = Path(name), None
    if str(name) in BUNDLED:
        file_name, aspect_log_odds = BUNDLED[str(name)]
        path = weights.bundled(file_name)
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
        header["aspect_log_odds"] if aspect_log_odds is None else aspect_log_odds,
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
