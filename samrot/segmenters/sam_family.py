"""SAMs of other authors, from their official files: MobileSAM, SAM-HQ."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from samrot import weights
from samrot.errors import InputError, MissingFileError
from samrot.segmenters.sam import SamSegmenter, load_official


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
    return load_official(name, find_builder(name), path, device)


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
    return build
