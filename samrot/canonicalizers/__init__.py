"""Floor 4: canonicalizers, their checkpoints, and the bundled weights."""

from samrot.canonicalizers.architectures import CANONICALIZERS
from samrot.canonicalizers.building import build_canonicalizer, load_imagenet_weights
from samrot.canonicalizers.canonicalizer import Canonicalizer
from samrot.canonicalizers.checkpoints import load_base_weights, save_canonicalizer
from samrot.canonicalizers.hub import push_to_hub, save_pretrained
from samrot.canonicalizers.loading import (
    CanonicalizerChoice,
    as_canonicalizer,
    load_canonicalizer,
    start_from,
)
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.weights import BUNDLED

__all__ = [
    "BUNDLED",
    "CANONICALIZERS",
    "Canonicalizer",
    "CanonicalizerChoice",
    "Thumbnail",
    "as_canonicalizer",
    "build_canonicalizer",
    "load_base_weights",
    "load_canonicalizer",
    "load_imagenet_weights",
    "push_to_hub",
    "save_canonicalizer",
    "save_pretrained",
    "start_from",
]
