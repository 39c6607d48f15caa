"""What every segmenter is: encode a photo once, decode prompts as often as you like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch

from samrot.errors import InputError
from samrot.runtime.memory import SAMPLE, UNCHECKED, bytes_of_each, check_batch
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

_BYTES_OF_EACH: WeakKeyDictionary[Any, float | None] = WeakKeyDictionary()  # by segmenter


@dataclass(frozen=True)
class Encoding:
    """A photo as its segmenter sees it.

    Args:
        size_hw: (height, width) of the photo.
        features: what the segmenter needs to decode; for SAM the embedding, (1, C, h, w).
    """

    size_hw: tuple[int, int]
    features: Any


class Segmenter(Protocol):
    """The interface of a promptable segmenter; state lives in ``Encoding``, never here."""

    name: str
    predicts_scores: bool

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    def encode(self, image: np.ndarray) -> Encoding:
        """Look at a photo, (H, W, 3) uint8 RGB."""
        ...

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """Segment what the prompts point at, all at once: memory grows with their number.

        Raises:
            InputError: if the segmenter does not take prompts of that kind.
        """
        ...


@runtime_checkable
class BatchEncoder(Protocol):
    """A segmenter that gains by encoding several photos at once."""

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoding]:
        """Look at photos of any sizes, each (H, W, 3) uint8 RGB."""
        ...


@runtime_checkable
class Movable(Protocol):
    """A segmenter that can run elsewhere."""

    def to(self, device: str) -> None:
        """Move its model; encodings made before stay where they are, see ``move_encoding``."""
        ...


def move_encoding(encoding: Encoding, device: str) -> Encoding:
    """An encoding, for its segmenter on another device."""
    from lightning_fabric.utilities import move_data_to_device

    return replace(encoding, features=move_data_to_device(encoding.features, torch.device(device)))


def encode_together(segmenter: Segmenter, images: Sequence[np.ndarray]) -> list[Encoding]:
    """Look at photos, each (H, W, 3) uint8 RGB: at once, if the segmenter can."""
    if isinstance(segmenter, BatchEncoder):
        return segmenter.encode_batch(images)
    return [segmenter.encode(image) for image in images]


def check_memory(segmenter: Segmenter, images: Sequence[np.ndarray], images_per_batch: int) -> None:
    """Refuse more photos at once than there is memory for; the first few say what one takes.

    On a GPU nothing is checked: there the allocator has an error of its own.

    Args:
        segmenter: what is to look at them.
        images: those of the batch, of which there may be fewer, or several for a photo.
        images_per_batch: the setting.

    Raises:
        InputError: naming a value that fits.
    """
    if not isinstance(segmenter, BatchEncoder) or segmenter.device.type != "cpu":
        return
    if len(images) <= UNCHECKED:
        return
    if segmenter not in _BYTES_OF_EACH:
        some = images[:SAMPLE]
        _BYTES_OF_EACH[segmenter] = bytes_of_each(lambda: segmenter.encode_batch(some))
    if (each := _BYTES_OF_EACH[segmenter]) is not None:
        check_batch("images_per_batch", images_per_batch, len(images) * each)


def check_remains(size_hw: tuple[int, int], resized_hw: tuple[int, int], name: str) -> None:
    """Refuse a photo so narrow that less than half a pixel of it remains when it is resized.

    Raises:
        InputError: ``name`` is the segmenter's.
    """
    if min(resized_hw) < 1:
        raise InputError(
            f"image is {size_hw[0]}x{size_hw[1]}; {name} resizes the longest side to "
            f"{max(resized_hw)}, which leaves nothing of the other: crop the image"
        )
