"""samrot: Segment Anything, robust to how the photo is turned."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samrot.canonicalizers import (
        Canonicalizer,
        load_canonicalizer,
        push_to_hub,
        save_pretrained,
    )
    from samrot.data.images import read_image
    from samrot.errors import InputError
    from samrot.geometry.pose import Pose
    from samrot.model_card import ModelCard
    from samrot.robust.canonicalized import canonicalized
    from samrot.robust.mask_generator import RobustMaskGenerator
    from samrot.robust.module import CanonicalizedModule
    from samrot.robust.predictor import RobustPredictor
    from samrot.robust.video import RobustVideoPredictor
    from samrot.segmenters import EncoderSettings, load_segmenter
    from samrot.structures.detections import Detections

# Name -> the module that it comes from, imported when it is first used.
_HOMES = {
    "CanonicalizedModule": "robust.module",
    "Canonicalizer": "canonicalizers",
    "Detections": "structures.detections",
    "EncoderSettings": "segmenters",
    "InputError": "errors",
    "ModelCard": "model_card",
    "Pose": "geometry.pose",
    "RobustMaskGenerator": "robust.mask_generator",
    "RobustPredictor": "robust.predictor",
    "RobustVideoPredictor": "robust.video",
    "canonicalized": "robust.canonicalized",
    "load_canonicalizer": "canonicalizers",
    "load_segmenter": "segmenters",
    "push_to_hub": "canonicalizers",
    "read_image": "data.images",
    "save_pretrained": "canonicalizers",
}

__all__ = [
    "CanonicalizedModule",
    "Canonicalizer",
    "Detections",
    "EncoderSettings",
    "InputError",
    "ModelCard",
    "Pose",
    "RobustMaskGenerator",
    "RobustPredictor",
    "RobustVideoPredictor",
    "__version__",
    "canonicalized",
    "load_canonicalizer",
    "load_segmenter",
    "push_to_hub",
    "read_image",
    "save_pretrained",
]

try:
    __version__ = version("samrot")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'samrot' has no attribute {name!r}")
    value = getattr(import_module(f"samrot.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
