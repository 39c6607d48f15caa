"""Weights: where published ones are, how files hold them, and how modules are filled with them."""

from samrot.weights.files import (
    check_header,
    check_network,
    load,
    load_official,
    save,
    save_official,
)
from samrot.weights.filling import build_filled, load_into, unfilled
from samrot.weights.published import (
    BUNDLED,
    OFFICIAL_SAM,
    OTHER_SAMS,
    OTHER_SAMS_EXTRA,
    SAM_MINI,
    bundled,
    imagenet_lite,
    official_sam,
    weights_folder,
)

__all__ = [
    "BUNDLED",
    "OFFICIAL_SAM",
    "OTHER_SAMS",
    "OTHER_SAMS_EXTRA",
    "SAM_MINI",
    "build_filled",
    "bundled",
    "check_header",
    "check_network",
    "imagenet_lite",
    "load",
    "load_into",
    "load_official",
    "official_sam",
    "save",
    "save_official",
    "unfilled",
    "weights_folder",
]
