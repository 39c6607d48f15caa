"""Segmenters: name -> loader.

To add one: a file with a class that follows ``protocol.Segmenter`` (``grabcut`` is the smallest),
and a line in ``SEGMENTERS``; ``tests/segmenters`` then tests its contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from segment_anything.build_sam import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from segment_anything.modeling import Sam

from samrot import weights
from samrot.errors import InputError, check_choice, check_count
from samrot.runtime.devices import find_device
from samrot.runtime.plugins import Plugin, find_plugins
from samrot.segmenters.fast_decoder import DecoderSettings
from samrot.segmenters.fast_encoder import EncoderSettings
from samrot.segmenters.filled_box import FilledBoxSegmenter
from samrot.segmenters.grabcut import GrabCutSegmenter
from samrot.segmenters.lora import merge_lora
from samrot.segmenters.protocol import Segmenter
from samrot.segmenters.sam import SamSegmenter, check_plain_sam, load_official
from samrot.segmenters.sam_family import load_other_sam
from samrot.segmenters.sam_mini import MiniDecoder, build_sam_mini
from samrot.segmenters.sam_mini_1 import build_sam_mini_1
from samrot.segmenters.transformers_sam import load_transformers
from samrot.structures.fingerprints import pack, unpack

_Settings = TypeVar("_Settings", EncoderSettings, DecoderSettings)
_MINI_FORMAT = "samrot-sam-mini"
# Version in the header of a checkpoint -> architecture; samrot 0.1.0 wrote no version.
MINI_VERSIONS: dict[int, Callable[..., Sam]] = {1: build_sam_mini_1, 2: build_sam_mini}


def _load_mini(checkpoint: str | Path | None, device: str) -> SamSegmenter:
    path = weights.bundled(weights.SAM_MINI) if checkpoint is None else Path(checkpoint)
    state, header = weights.load(path, format_name=_MINI_FORMAT)
    version = header.get("version", 1)
    check_choice(f"{path}: version", version, MINI_VERSIONS)
    with weights.unfilled():
        sam = MINI_VERSIONS[version]()
    weights.load_into(sam, state, path)
    segmenter = SamSegmenter(sam.requires_grad_(False).to(device), "sam_mini")
    segmenter.trained_on = unpack(header.get("trained_on"))
    return segmenter


def save_sam(sam: Sam, path: str | Path, trained_on: np.ndarray | None = None) -> None:
    """Write a checkpoint that ``load_segmenter`` reads.

    Args:
        sam: the model; low-rank updates are merged into its weights.
        path: ending in ``.safetensors`` for ``sam_mini``, in ``.pth`` for the official format.
        trained_on: (N,) uint64, fingerprints of the photos; the official format cannot hold them.
    """
    state = merge_lora(sam).state_dict()
    if Path(path).suffix == ".safetensors":
        header: dict[str, Any] = {"version": mini_version(sam)}
        if trained_on is not None:
            header["trained_on"] = pack(trained_on.tolist())
        weights.save(path, state, format_name=_MINI_FORMAT, header=header)
    else:
        weights.save_official(path, state)


def mini_version(sam: Sam) -> int:
    """Which ``sam_mini`` it is, a key of ``MINI_VERSIONS``."""
    return 2 if isinstance(sam.mask_decoder, MiniDecoder) else 1


def _without_weights(
    build: Callable[[], Segmenter], checkpoint: str | Path | None, device: str
) -> Segmenter:
    segmenter = build()
    if checkpoint is not None:
        raise InputError(
            f"{segmenter.name} has no weights, but checkpoint is {checkpoint}; leave it out"
        )
    return segmenter


# Name -> loader(checkpoint, device).
SEGMENTERS: dict[str, Callable[[str | Path | None, str], Segmenter]] = {
    "sam_mini": _load_mini,
    "sam_vit_b": partial(load_official, "sam_vit_b", build_sam_vit_b),
    "sam_vit_l": partial(load_official, "sam_vit_l", build_sam_vit_l),
    "sam_vit_h": partial(load_official, "sam_vit_h", build_sam_vit_h),
    **{name: partial(load_other_sam, name) for name in weights.OTHER_SAMS},
    "transformers": load_transformers,
    "grabcut": partial(_without_weights, GrabCutSegmenter),
    "box": partial(_without_weights, FilledBoxSegmenter),
}


def load_segmenter(
    name: str = "sam_mini",
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    encoder: EncoderSettings | dict[str, Any] | None = None,
    decoder: DecoderSettings | dict[str, Any] | None = None,
) -> Segmenter:
    """A segmenter, ready for inference.

    Args:
        name: ``sam_mini`` (bundled), ``sam_vit_b``, ``sam_vit_l``, ``sam_vit_h``, ``mobile_sam``,
            ``sam_hq_vit_tiny``, ``_b``, ``_l``, ``_h``, ``efficientvit_sam_l0``, ``_l1``, ``_l2``,
            ``_xl0``, ``_xl1``, ``transformers``, ``grabcut``, ``box``, or the name of one that an
            installed package brings (``samrot models``).
        checkpoint: weight file, for transformers a folder or hub id; None takes the bundled one,
            or the official one from the weights folder (``weights/README.md``).
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``: the fastest that is there.
        encoder: a faster image encoder, for the ``segment_anything`` models: ``EncoderSettings``,
            or its fields.
        decoder: a faster mask decoder, for the ``segment_anything`` models: ``DecoderSettings``,
            or its fields.

    Raises:
        InputError: if the name is unknown, or the file missing, damaged or of another architecture;
            if that of another package fails, or gives no segmenter; or if the encoder or decoder
            settings do not fit the segmenter.
    """
    plugins = {} if name in list(SEGMENTERS) else find_plugins("segmenters")
    check_choice("segmenter", name, [*SEGMENTERS, *plugins])
    device = find_device(device)
    encoder = _as_settings("encoder", encoder, EncoderSettings)
    decoder = _as_settings("decoder", decoder, DecoderSettings)
    if name in plugins:
        segmenter = _from_plugin(plugins[name], checkpoint, device)
    else:
        segmenter = SEGMENTERS[name](checkpoint, device)
    if encoder == EncoderSettings() and decoder == DecoderSettings():
        return segmenter
    plain = check_plain_sam(segmenter, "encoder or decoder settings are given", "leave them out")
    faster = SamSegmenter(plain.sam, plain.name, encoder=encoder, decoder=decoder)
    faster.trained_on = plain.trained_on
    return faster


def _from_plugin(plugin: Plugin, checkpoint: str | Path | None, device: str) -> Segmenter:
    """The segmenter of another package.

    Raises:
        InputError: if it fails, or lacks what a segmenter has.
    """
    segmenter = plugin.make(checkpoint, device)
    for attribute in ("name", "predicts_scores", "device", "encode", "decode"):
        if not hasattr(segmenter, attribute):
            raise plugin.refusal(
                f"gives a {type(segmenter).__name__} without {attribute}; expected what "
                "samrot.segmenters.Segmenter asks for"
            )
    made: Segmenter = segmenter
    return made


def _as_settings(name: str, given: Any, kind: type[_Settings]) -> _Settings:
    """Settings that may be given as a dict of their fields, or left out."""
    try:
        return given if isinstance(given, kind) else kind(**(given or {}))
    except TypeError as error:
        raise InputError(
            f"{name} is {given}; expected some of {', '.join(vars(kind()))}"
        ) from error


@dataclass(kw_only=True)
class SegmenterWeights:
    """Which segmenter.

    Args:
        name: sam_mini, sam_vit_b, sam_vit_l or sam_vit_h.
        checkpoint: weight file; None for the bundled or official one.
    """

    name: str = "sam_mini"
    checkpoint: str | None = None


@dataclass(kw_only=True)
class SegmenterSettings(SegmenterWeights):
    """Which segmenter, and how it is asked.

    Args:
        name: sam_mini, sam_vit_b, sam_vit_l, sam_vit_h, mobile_sam, sam_hq_vit_tiny, sam_hq_vit_b,
            sam_hq_vit_l, sam_hq_vit_h, efficientvit_sam_l0 (l1, l2, xl0, xl1), transformers,
            grabcut, box (fills the box), detector (the masks of the live detector itself), or the
            name of an installed plug-in.
        checkpoint: weight file, folder or hub id; None for the bundled or official one.
        encoder: how the image encoder of a segment_anything model computes; faster ways.
        decoder: how its mask decoder computes; faster ways.
        multimask: decode three masks and keep the one of the highest predicted IoU.
        refine: times that the low-resolution logits are fed back as mask input.
    """

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    multimask: bool = False
    refine: int = 0

    def __post_init__(self) -> None:
        check_count("segmenter.refine", self.refine, 0, 100)

    def load(self, device: str) -> Segmenter:
        """The segmenter, on that device."""
        return load_segmenter(
            self.name,
            checkpoint=self.checkpoint,
            device=device,
            encoder=self.encoder,
            decoder=self.decoder,
        )
