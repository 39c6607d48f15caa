"""Segmenters: name -> loader.

To add one: a file with a class that follows ``base.Segmenter`` (``grabcut`` is the smallest), and a
line in ``SEGMENTERS``; ``tests/segmenters`` then tests its contract.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from segment_anything.build_sam import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from segment_anything.modeling import Sam

from samrot import weights
from samrot.devices import check_device
from samrot.errors import InputError, check_choice
from samrot.segmenters.base import (
    BatchEncoder,
    Encoding,
    Segmentation,
    Segmenter,
    encode_together,
)
from samrot.segmenters.fast_encoder import EncoderSettings
from samrot.segmenters.filled_box import FilledBoxSegmenter
from samrot.segmenters.grabcut import GrabCutSegmenter
from samrot.segmenters.lora import merge_lora
from samrot.segmenters.prompts import Prompts, check_prompts, checked_array
from samrot.segmenters.sam import SamSegmenter, load_official
from samrot.segmenters.sam_mini import build_sam_mini
from samrot.segmenters.transformers_sam import load_transformers

__all__ = [
    "SEGMENTERS",
    "BatchEncoder",
    "EncoderSettings",
    "Encoding",
    "Prompts",
    "SamSegmenter",
    "Segmentation",
    "Segmenter",
    "check_prompts",
    "checked_array",
    "encode_together",
    "load_segmenter",
    "save_sam",
]

_MINI_FORMAT = "samrot-sam-mini"
_MINI_FILE = "sam_mini.safetensors"


def _load_mini(checkpoint: str | Path | None, device: str) -> SamSegmenter:
    path = weights.bundled(_MINI_FILE) if checkpoint is None else Path(checkpoint)
    state, _ = weights.load(path, format_name=_MINI_FORMAT)
    sam = build_sam_mini()
    weights.load_into(sam, state, path)
    return SamSegmenter(sam.requires_grad_(False).to(device), "sam_mini")


def save_sam(sam: Sam, path: str | Path) -> None:
    """Write a checkpoint that ``load_segmenter`` reads.

    Args:
        sam: the model; low-rank updates are merged into its weights.
        path: ending in ``.safetensors`` for ``sam_mini``, in ``.pth`` for the official format.
    """
    state = merge_lora(sam).state_dict()
    if Path(path).suffix == ".safetensors":
        weights.save(path, state, format_name=_MINI_FORMAT, header={})
    else:
        weights.save_official(path, state)


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
    "transformers": load_transformers,
    "grabcut": partial(_without_weights, GrabCutSegmenter),
    "box": partial(_without_weights, FilledBoxSegmenter),
}


def load_segmenter(
    name: str = "sam_mini",
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    encoder: EncoderSettings | None = None,
) -> Segmenter:
    """A segmenter, ready for inference.

    Args:
        name: ``sam_mini`` (bundled), ``sam_vit_b``, ``sam_vit_l``, ``sam_vit_h``,
            ``transformers``, ``grabcut`` or ``box``.
        checkpoint: weight file, for transformers a folder or hub id; None takes the bundled one,
            or the official one from the weights folder (``weights/README.md``).
        device: ``cpu``, ``cuda``, ...
        encoder: a faster image encoder, for the ``segment_anything`` models.

    Raises:
        InputError: if the name is unknown, or the file missing, damaged or of another architecture;
            or if the encoder settings do not fit the segmenter.
    """
    check_choice("segmenter", name, SEGMENTERS)
    check_device(device)
    segmenter = SEGMENTERS[name](checkpoint, device)
    if encoder is None or encoder == EncoderSettings():
        return segmenter
    if not isinstance(segmenter, SamSegmenter):
        raise InputError(
            f"encoder settings are given, but {name} is no segment_anything model; leave them out"
        )
    return SamSegmenter(segmenter.sam, segmenter.name, encoder=encoder)
