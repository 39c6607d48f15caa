"""Saving and loading canonicalizers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samrot import weights
from samrot.canonicalizers.architectures import (
    CANONICALIZERS,
    PLAIN_EXPORTS,
    TILT_NETWORKS,
)
from samrot.canonicalizers.building import assemble, build_fitting, build_network
from samrot.canonicalizers.canonicalizer import Canonicalizer
from samrot.canonicalizers.escnn_so2 import EscnnVectors, VectorCanonicalizer
from samrot.canonicalizers.escnn_wrn import EscnnWRN
from samrot.canonicalizers.orbit_cnn import OrbitLite
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.canonicalizers.tilt import TiltCanonicalizer, TiltNetwork, TiltRule
from samrot.errors import InputError, check_choice, check_range
from samrot.geometry.groups import C4
from samrot.structures.fingerprints import pack, union, unpack

_FORMAT = "samrot-canonicalizer"
# Field of a checkpoint's header -> types of its value.
_HEADER: dict[str, tuple[type, ...]] = {
    "architecture": (str,),
    "group": (str,),
    "size": (int,),
    "frame": (str,),
    "mirror_average": (bool,),
    "mirror_below": (float, int),
    "aspect_log_odds": (float, int),
    "dead_band_deg": (float, int),
    "options": (dict,),
}
# What headers of older versions lack.
_NEWER = {"group": C4.name, "mirror_below": 1.0, "dead_band_deg": TiltRule.dead_band_deg}
# Field of the header of a canonicalizer with a tilt network -> types of its value.
_TILT_HEADER: dict[str, tuple[type, ...]] = {
    "architecture": (str,),
    "base": (str,),
    "size": (int,),
    "options": (dict,),
    "dead_band_deg": (float, int),
    "unknown_below": (float, int),
}


def load_base_weights(canonicalizer: Canonicalizer, base: str) -> None:
    """Fill a network with the weights of a bundled one, and freeze them; what that lacks is left.

    Raises:
        InputError: if there is no such base, or its weights do not fit.
    """
    check_choice("canonicalizer.base", base, weights.BUNDLED)
    own = canonicalizer.network.state_dict()
    shared = load_checkpoint(base).network.state_dict()
    weights.load_into(canonicalizer.network, {**own, **shared}, base)
    for name, parameter in canonicalizer.network.named_parameters():
        parameter.requires_grad_(name not in shared)


def save_canonicalizer(
    canonicalizer: Canonicalizer,
    path: str | Path,
    *,
    architecture: str,
    options: dict[str, Any],
    base: str | None = None,
) -> None:
    """Write a checkpoint: safetensors, whose header holds all that rebuilding it needs.

    Args:
        canonicalizer: what is saved.
        path: path of the file.
        architecture, options: as in ``build_canonicalizer``.
        base: name of a bundled canonicalizer, whose weights are left out, and read from it again.
    """
    state: dict[str, Tensor]
    header: dict[str, Any]
    if isinstance(canonicalizer, TiltCanonicalizer):
        state = canonicalizer.tilt_network.state_dict()
        header = {"size": canonicalizer.tilt_thumbnail.size, **vars(canonicalizer.rule)}
    else:
        state = _own_state(canonicalizer.network, base)
        header = {
            "group": canonicalizer.group.name,
            "size": canonicalizer.thumbnail.size,
            "frame": canonicalizer.thumbnail.frame,
            "mirror_average": canonicalizer.mirror_average,
            "mirror_below": canonicalizer.mirror_below,
            "aspect_log_odds": canonicalizer.aspect_log_odds,
        }
        if isinstance(canonicalizer, VectorCanonicalizer):
            header["dead_band_deg"] = canonicalizer.rule.dead_band_deg
    header = {"architecture": architecture, **header, "options": options}
    if base is not None:
        header["base"] = base
    if canonicalizer.set_threshold is not None:
        header["set_threshold"] = canonicalizer.set_threshold
    if canonicalizer.trained_on is not None:
        header["trained_on"] = pack(canonicalizer.trained_on.tolist())
    write_checkpoint(path, state, header)


def _own_state(network: nn.Module, base: str | None) -> dict[str, Tensor]:
    """The weights of a network, without those of its base."""
    if isinstance(network, EscnnWRN | EscnnVectors):
        network = network.export()
    shared = {} if base is None else load_checkpoint(base).network.state_dict()
    return {name: tensor for name, tensor in network.state_dict().items() if name not in shared}


def read_checkpoint(name: str | Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """The path, weights and header of a checkpoint; those that it shares with a base among them.

    Args:
        name: name of a bundled one, or path of a checkpoint that ``save_canonicalizer`` wrote.

    Returns:
        Its path, its weights as float32, and its header; the base of a tilt network, which is a
        canonicalizer of its own, stays named there.

    Raises:
        InputError: if there is no such file, or it is no such checkpoint or damaged.
    """
    path, bundled = Path(name), {}
    if str(name) in weights.BUNDLED:
        file_name, aspect_log_odds = weights.BUNDLED[str(name)]
        path, bundled = weights.bundled(file_name), {"aspect_log_odds": aspect_log_odds}
    state, header = weights.load(path, format_name=_FORMAT)
    if str(header.get("architecture")) in TILT_NETWORKS:
        return path, state, header
    if bundled and header.get("aspect_log_odds") != bundled["aspect_log_odds"]:
        header.pop("set_threshold", None)  # it was calibrated with those of the file
    header |= bundled
    if header.get("base") is None:
        return path, state, header
    check_choice(f"{path}: base", header["base"], weights.BUNDLED)
    _, shared, of_base = read_checkpoint(header.pop("base"))
    trained_on = union(unpack(header.pop("trained_on", None)), unpack(of_base.get("trained_on")))
    if trained_on is not None:
        header["trained_on"] = pack(trained_on.tolist())
    return path, {**shared, **state}, header


def write_checkpoint(path: str | Path, state: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write weights and header as ``read_checkpoint`` gives them."""
    kept = {name: value for name, value in header.items() if name != "format"}
    weights.save(path, state, format_name=_FORMAT, header=kept)


@torch.inference_mode(False)  # tensors made in it could not be used elsewhere
def load_checkpoint(name: str | Path) -> Canonicalizer:
    """A canonicalizer from its weight file, on the CPU, ready for inference.

    Args:
        name: as of ``read_checkpoint``.

    Raises:
        InputError: as ``read_checkpoint``.
    """
    path, state, header = read_checkpoint(name)
    trained_on, set_threshold = unpack(header.get("trained_on")), header.get("set_threshold")
    if set_threshold is not None:
        check_range(f"{path}: set_threshold", set_threshold, 0, 1)
    if str(header.get("architecture")) in TILT_NETWORKS:
        tilted = _rebuild_tilted(path, state, header)
        tilted.trained_on = union(trained_on, tilted.trained_on)
        return tilted.eval().requires_grad_(False)
    canonicalizer = _rebuild(path, state, {**_NEWER, **header})
    canonicalizer.trained_on, canonicalizer.set_threshold = trained_on, set_threshold
    return canonicalizer.eval().requires_grad_(False)


def _rebuild(path: Path, state: dict[str, Tensor], header: dict[str, Any]) -> Canonicalizer:
    weights.check_header(header, _HEADER, path)
    architecture = header["architecture"]
    check_choice(f"{path}: canonicalizer architecture", architecture, CANONICALIZERS)
    builder = PLAIN_EXPORTS.get(architecture, CANONICALIZERS[architecture])
    build = partial(build_network, builder, architecture, header["group"], header["options"])
    return assemble(weights.build_filled(build, state, path), header)


def build_tilt_canonicalizer(
    architecture: str, base: str, *, size: int, rule: TiltRule, **options: Any
) -> TiltCanonicalizer:
    """A bundled canonicalizer with a tilt network of random weights after it.

    Args:
        architecture: a key of ``TILT_NETWORKS``.
        base: name of the bundled canonicalizer.
        size: side of the thumbnails of the tilt network.
        rule: when a tilt is believed.
        options: options of the tilt network.

    Raises:
        InputError: if a name or an option is unknown.
    """
    check_choice("canonicalizer architecture", architecture, TILT_NETWORKS)
    return _after_base(base, build_fitting(TILT_NETWORKS[architecture], options), size, rule)


def _after_base(base: str, network: nn.Module, size: int, rule: TiltRule) -> TiltCanonicalizer:
    check_choice("canonicalizer base", base, weights.BUNDLED)
    exact_part = load_checkpoint(base)
    tilted = TiltCanonicalizer(exact_part, network, Thumbnail(size, "square"), rule)
    tilted.network.requires_grad_(False)
    tilted.trained_on, tilted.set_threshold = exact_part.trained_on, exact_part.set_threshold
    return tilted


def load_features_of_base(tilted: TiltCanonicalizer) -> None:
    """Start the features of a tilt network from those of its base, which are of the same kind.

    Raises:
        InputError: if they are of another variant.
    """
    own, shared = tilted.tilt_network, tilted.network
    assert isinstance(own, TiltNetwork)
    if not isinstance(shared, OrbitLite) or shared.features.variant != own.features.variant:
        raise InputError(
            "init is base, but the features of the base are of another network; choose the "
            "architecture tilt_lite0 or tilt_lite1 that is like the base, or init imagenet"
        )
    features = shared.features.state_dict()
    own.features.load_state_dict({name: features[name] for name in own.features.state_dict()})


def _rebuild_tilted(
    path: Path, state: dict[str, Tensor], header: dict[str, Any]
) -> TiltCanonicalizer:
    weights.check_header(header, _TILT_HEADER, path)
    rule = TiltRule(header["dead_band_deg"], header["unknown_below"])
    build = partial(build_fitting, TILT_NETWORKS[header["architecture"]], header["options"])
    network = weights.build_filled(build, state, path)
    return _after_base(header["base"], network, header["size"], rule)
