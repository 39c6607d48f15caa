"""Canonicalizers by name: bundled, in a file or folder, on the hub, or of another package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from samrot.canonicalizers.building import load_imagenet_weights
from samrot.canonicalizers.canonicalizer import Canonicalizer
from samrot.canonicalizers.checkpoints import load_checkpoint
from samrot.canonicalizers.hub import SCHEME, load_pretrained
from samrot.canonicalizers.law import law_violations
from samrot.errors import InputError
from samrot.geometry.groups import FiniteGroup
from samrot.runtime.devices import find_device
from samrot.runtime.plugins import Plugin, describe_error, find_plugins
from samrot.weights import BUNDLED, load_into


@dataclass(kw_only=True)
class CanonicalizerChoice:
    """Which canonicalizer.

    Args:
        name: c4, c4_aspect, d4, so2, the path of a checkpoint, hf://owner/name for one on the hub,
            or the name of an installed plug-in.
    """

    name: str = "c4"

    def load(self, device: str) -> Canonicalizer:
        """The canonicalizer, on that device."""
        return load_canonicalizer(self.name, device=device)


def as_canonicalizer(
    canonicalizer: Canonicalizer | str | Path | None, device: str
) -> Canonicalizer | None:
    """A canonicalizer that may be given as a name or path for ``load_canonicalizer``."""
    if isinstance(canonicalizer, str | Path):
        return load_canonicalizer(canonicalizer, device=device)
    return canonicalizer


@torch.inference_mode(False)  # tensors made in it could not be used elsewhere
def load_canonicalizer(name: str | Path = "c4", *, device: str = "cpu") -> Canonicalizer:
    """A trained canonicalizer, ready for inference.

    Args:
        name: ``"c4"`` (bundled default, blind to the aspect ratio), ``"c4_aspect"`` (bundled, the
            same and the evidence of the aspect ratio), ``"d4"`` (bundled, mirror images too),
            ``"so2"`` (bundled, any angle), the path of a checkpoint that ``samrot train`` wrote, or
            of a folder that ``samrot.save_pretrained`` did, ``"hf://owner/name"`` for one on the
            hub (of a branch, tag or commit: ``@revision``), or the name of one that an installed
            package brings (``samrot models``).
        device: where it runs.

    Raises:
        InputError: if the name is unknown, or the file is no such checkpoint or damaged; if the hub
            has none of that id, or its card names no group; or if that of another package fails, or
            breaks the law of its group.
    """
    device = find_device(device)
    if str(name) in BUNDLED or Path(name).is_file():
        return load_checkpoint(name).to(device)
    if str(name).startswith(SCHEME) or Path(name).is_dir():
        return load_pretrained(name).to(device)
    plugins = find_plugins("canonicalizers")
    if str(name) not in plugins:
        raise InputError(
            f"canonicalizer {str(name)!r} is neither bundled nor a file; expected one of "
            f"{', '.join([*BUNDLED, *plugins])}, the path of a checkpoint that samrot train wrote, "
            "or hf://owner/name"
        )
    canonicalizer = plugins[str(name)].make(device)
    _check_plugin(plugins[str(name)], canonicalizer)
    checked: Canonicalizer = canonicalizer.eval().requires_grad_(False).to(device)
    return checked


def _check_plugin(plugin: Plugin, canonicalizer: object) -> None:
    """Refuse what is no canonicalizer, or breaks the law of the group that it declares.

    Raises:
        InputError: naming the plug-in, and what is wrong.
    """
    if not isinstance(canonicalizer, Canonicalizer):
        raise plugin.refusal(
            f"gives a {type(canonicalizer).__name__}; expected a samrot.Canonicalizer"
        )
    group = canonicalizer.group
    if not isinstance(group, FiniteGroup):
        raise plugin.refusal(
            f"has the group {group!r}; expected one of samrot.geometry.groups, as C4"
        )
    photo = np.random.default_rng(0).integers(0, 160, (37, 52, 3), dtype=np.uint8)
    photo[4:15, 10:44] += 90
    try:
        violation = next(law_violations(canonicalizer, photo, group), None)
    except Exception as error:  # it may raise anything
        raise plugin.refusal(f"fails on a photo ({describe_error(error)})") from error
    if violation is not None:
        raise plugin.refusal(
            f"breaks the law of {group.name}, the group that it declares, where a photo is moved "
            f"by {violation.element}: {violation.difference} (samrot.testing.assert_commutes says "
            "more)"
        )


def start_from(canonicalizer: Canonicalizer, init: str | None) -> None:
    """Fill a network that is to be trained with weights that there are; None leaves it as it is.

    Args:
        canonicalizer: what is to be trained.
        init: imagenet, a checkpoint of the same architecture, or the name of a bundled one.

    Raises:
        InputError: if there are no such weights, or they do not fit.
    """
    if init == "imagenet":
        load_imagenet_weights(canonicalizer)
    elif init is not None:
        load_into(canonicalizer.network, load_canonicalizer(init).network.state_dict(), init)
