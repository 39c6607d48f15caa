"""SAMs of other authors, from their official files: MobileSAM, SAM-HQ, EfficientViT-SAM."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from samrot import weights
from samrot.errors import InputError, MissingFileError
from samrot.segmenters.protocol import Encoding, check_remains
from samrot.segmenters.sam import SamSegmenter, as_segmenter, load_official


class EfficientVitSegmenter(SamSegmenter):
    """EfficientViT-SAM, as its own ``EfficientViTSamPredictor`` computes it.

    Its encoder sees the photo at one size, and prompts and masks are placed at another.

    Args:
        model: an ``EfficientViTSam``; used as it is, on the device it is on.
        name: name in records.
    """

    def __init__(self, model: Any, name: str = "efficientvit_sam") -> None:
        self.sam, self.name = model, name
        self.fast_encoder = self.fast_decoder = None
        prompt_side, self.encoder_side = model.image_size
        self.transform = ResizeLongestSide(prompt_side)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.sam.parameters()).device

    @torch.no_grad()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoding]:
        """Look at photos of any sizes at once; see ``encode``."""
        sizes_hw = [(image.shape[0], image.shape[1]) for image in images]
        for size_hw in sizes_hw:
            resized_hw = ResizeLongestSide.get_preprocess_shape(*size_hw, self.encoder_side)
            check_remains(size_hw, resized_hw, self.name)
        pixels = torch.stack([self.sam.transform(image) for image in images]).to(self.device)
        features = self.sam.image_encoder(pixels).split(1)
        return [Encoding(size, part) for size, part in zip(sizes_hw, features, strict=True)]

    def encode_resized(self, pixels: Tensor, size_hw: tuple[int, int]) -> Encoding:
        """Refused: its photos are resized to another size than prompts.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.name} takes no resized image; use set_image")


def load_other_sam(name: str, checkpoint: str | Path | None, device: str) -> SamSegmenter:
    """A model with weights in the format of its authors.

    Args:
        name: a key of ``weights.OTHER_SAMS``.
        checkpoint: path; None looks in the weights folder.
        device: where it runs.

    Raises:
        InputError: if the package of its architecture is not installed, or the file is missing,
            damaged, or of another architecture.
    """
    published = weights.OTHER_SAMS[name]
    path = weights.weights_folder() / published.file_name if checkpoint is None else checkpoint
    if not Path(path).is_file():
        raise MissingFileError(
            f"checkpoint {path} does not exist; expected {published.file_name} from "
            f"{published.source}, there or as checkpoint"
        )
    wrap = EfficientVitSegmenter if name.startswith("efficientvit") else as_segmenter
    return load_official(name, find_builder(name), path, device, wrap)


def find_builder(name: str) -> Callable[[], Any]:
    """What makes the model with random weights, a Sam of its authors' package.

    Raises:
        InputError: if that package is not installed, or does not fit what else is.
    """
    module, function = weights.OTHER_SAMS[name].builder.split(":")
    try:
        with warnings.catch_warnings():  # both packages register a TinyViT with timm, as it has
            warnings.simplefilter("ignore")
            build: Callable[[], Any] = getattr(import_module(module), function)
    except ImportError as error:
        raise InputError(
            f"segmenter {name} needs {error.name or module}, which is not installed; "
            f"{weights.OTHER_SAMS_EXTRA}"
        ) from error
    return partial(build, **weights.OTHER_SAMS[name].arguments)
