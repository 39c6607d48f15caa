"""samrot: Segment Anything, robust to how the photo is turned."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from samrot.canonicalizers import Canonicalizer, load_canonicalizer
from samrot.data.images import read_image
from samrot.errors import InputError
from samrot.mask_generator import RobustMaskGenerator
from samrot.predictor import RobustPredictor
from samrot.robust_detector import canonicalized
from samrot.segmenters import load_segmenter
from samrot.types import Detections

__all__ = [
    "Canonicalizer",
    "Detections",
    "InputError",
    "RobustMaskGenerator",
    "RobustPredictor",
    "__version__",
    "canonicalized",
    "load_canonicalizer",
    "load_segmenter",
    "read_image",
]

try:
    __version__ = version("samrot")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
