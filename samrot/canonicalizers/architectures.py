"""The table of canonicalizer networks.

To add one: a file with an ``nn.Module`` that obeys the law of its group, and a line here;
``tests/canonicalizers`` then tests its law.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from samrot.canonicalizers.c4_networks import GCNN, GWRN
from samrot.canonicalizers.escnn_so2 import EscnnVectors, PlainVectors
from samrot.canonicalizers.escnn_wrn import EscnnWRN, PlainWRN
from samrot.canonicalizers.orbit_cnn import OrbitCNN, OrbitLite
from samrot.canonicalizers.tilt import TiltNetwork

# Architecture -> network to train, for C4 unless it takes a group. Those of escnn are saved, and
# loaded, as their plain exports.
CANONICALIZERS: dict[str, Callable[..., nn.Module]] = {
    "gcnn": GCNN,
    "gwrn": GWRN,
    "escnn_wrn": EscnnWRN,
    "escnn_so2": EscnnVectors,
    "orbit_cnn": OrbitCNN,
    "orbit_lite0": partial(OrbitLite, 0),
    "orbit_lite1": partial(OrbitLite, 1),
    "orbit_lite2": partial(OrbitLite, 2),
}
PLAIN_EXPORTS: dict[str, Callable[..., nn.Module]] = {
    "escnn_wrn": PlainWRN,
    "escnn_so2": PlainVectors,
}
# Those that take any group of the plane as an argument, ``group``; and any without mirror images.
OVER_CYCLIC_GROUPS = ("escnn_wrn",)
OVER_ANY_GROUP = ("orbit_cnn", "orbit_lite0", "orbit_lite1", "orbit_lite2")
# Architecture -> network of the tilt that is left when an exact canonicalizer, the base, has undone
# the rest.
TILT_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "tilt_lite0": partial(TiltNetwork, 0),
    "tilt_lite1": partial(TiltNetwork, 1),
}
# Those that are trained on photos turned by any angle.
OVER_ANY_ANGLE = ("escnn_so2", *TILT_NETWORKS)
