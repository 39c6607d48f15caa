"""Building canonicalizers: a network of the table, for a group, with its thumbnail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from samrot import weights
from samrot.canonicalizers.architectures import CANONICALIZERS, OVER_ANY_GROUP, OVER_CYCLIC_GROUPS
from samrot.canonicalizers.canonicalizer import Canonicalizer
from samrot.canonicalizers.escnn_so2 import PlainVectors, VectorCanonicalizer
from samrot.canonicalizers.orbit_cnn import OrbitLite
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.canonicalizers.tilt import TiltCanonicalizer, TiltNetwork, TiltRule
from samrot.errors import InputError, check_choice, check_range
from samrot.geometry.groups import C4, find_group

# Option of a network -> range of its numbers.
_OPTIONS = {
    "widths": (1, 4096),
    "blocks": (1, 64),
    "dropout": (0, 1),
    "stages": (1, 7),
    "frozen_stages": (0, 7),
    "width": (1, 4096),
}


def build_canonicalizer(
    architecture: str,
    *,
    group: str = C4.name,
    size: int = 97,
    frame: str = "square",
    mirror_average: bool = True,
    mirror_below: float = 1.0,
    aspect_log_odds: float = 0.0,
    dead_band_deg: float = TiltRule.dead_band_deg,
    **options: Any,
) -> Canonicalizer:
    """A canonicalizer with random weights.

    Args:
        architecture: a key of ``CANONICALIZERS``.
        group: C4, or, of architectures over the orbit, C8, C16 or D4; ``escnn_wrn`` takes C8 and
            C16 too.
        size, frame: size and frame of the ``Thumbnail``.
        mirror_average, mirror_below, aspect_log_odds: as in ``Canonicalizer``.
        dead_band_deg: as in ``TiltRule``, for ``escnn_so2``.
        options: options of the network (``widths``, ``blocks``, ``dropout``, ...).

    Raises:
        InputError: if the name, the group or an option is unknown, or they do not go together.
    """
    check_choice("canonicalizer architecture", architecture, CANONICALIZERS)
    settings = {
        "group": group,
        "size": size,
        "frame": frame,
        "mirror_average": mirror_average,
        "mirror_below": mirror_below,
        "aspect_log_odds": aspect_log_odds,
        "dead_band_deg": dead_band_deg,
    }
    network = build_network(CANONICALIZERS[architecture], architecture, group, options)
    return assemble(network, settings)


def load_imagenet_weights(canonicalizer: Canonicalizer) -> None:
    """Fill an ``orbit_lite*`` with the published ImageNet weights; its score stays as it is.

    Raises:
        InputError: if it is of another architecture, or the package of the weights is missing.
    """
    network = canonicalizer.network
    if isinstance(canonicalizer, TiltCanonicalizer):
        network = canonicalizer.tilt_network
    if not isinstance(network, OrbitLite | TiltNetwork):
        raise InputError(
            f"init is imagenet, but there are no ImageNet weights for {type(network).__name__}; "
            "choose an architecture orbit_lite0, 1 or 2, or the path of a checkpoint"
        )
    features = network.features
    features.load_published(
        weights.imagenet_lite(features.variant), canonicalizer.pixel_mean, canonicalizer.pixel_std
    )


def build_network(
    builder: Callable[..., nn.Module], architecture: str, group_name: str, options: dict[str, Any]
) -> nn.Module:
    """A network of ``CANONICALIZERS`` for a group, with random weights."""
    group = find_group(group_name)
    fitting = OVER_ANY_GROUP + (() if group.has_mirrors else OVER_CYCLIC_GROUPS)
    if architecture in fitting:
        return build_fitting(builder, options, group=group)
    if group is not C4:
        raise InputError(
            f"canonicalizer group is {group.name} for {architecture!r}, which is made for C4; "
            f"choose one of: {', '.join(fitting)}"
        )
    return build_fitting(builder, options)


def build_fitting(
    builder: Callable[..., nn.Module], options: dict[str, Any], **fixed: Any
) -> nn.Module:
    """A network whose options are known, in range, and go together."""
    for name, value in options.items():
        check_choice("canonicalizer options entry", name, _OPTIONS)
        for number in value if isinstance(value, list | tuple) else [value]:
            check_range(f"canonicalizer options.{name}", number, *_OPTIONS[name])
    try:
        return builder(**options, **fixed)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InputError(f"canonicalizer options {options} do not fit: {error}") from error


def assemble(network: nn.Module, settings: dict[str, Any]) -> Canonicalizer:
    """A canonicalizer of a network, and of the other fields of its header.

    Raises:
        InputError: if one is off, or the network would break its law at that size.
    """
    check_range("canonicalizer mirror_below", settings["mirror_below"], 0, 1)
    check_range("canonicalizer aspect_log_odds", settings["aspect_log_odds"], -1e3, 1e3)
    thumbnail = Thumbnail(settings["size"], settings["frame"])
    step = getattr(network, "size_step", 1)
    if (thumbnail.size - 1) % step:
        larger = thumbnail.size + (1 - thumbnail.size) % step
        raise InputError(
            f"canonicalizer size is {thumbnail.size}; expected 1 more than a multiple of {step}, "
            f"as {larger}, since the windows of this network would else lie off centre, and break "
            "its law"
        )
    build: Callable[..., Canonicalizer] = Canonicalizer
    if isinstance(network, PlainVectors):
        build = partial(VectorCanonicalizer, rule=TiltRule(settings["dead_band_deg"]))
    return build(
        network,
        thumbnail,
        group=find_group(settings["group"]),
        mirror_average=settings["mirror_average"],
        mirror_below=settings["mirror_below"],
        aspect_log_odds=settings["aspect_log_odds"],
    )
