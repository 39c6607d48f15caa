"""The items of the study, in the order of its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from studies.context import Context
from studies.numbers import Number
from studies.policies import coverage, literature, protocols, traffic
from studies.scale import scale
from studies.trained import alignment, expressivity, prior_strength, training_photos

# Each is a file in ``configs/study``, and becomes a CSV; its docstring is its title.
ITEMS: dict[str, Callable[[Context, dict[str, Any]], Iterator[Number]]] = {
    "traffic": traffic,
    "coverage": coverage,
    "expressivity": expressivity,
    "training_photos": training_photos,
    "alignment": alignment,
    "prior_strength": prior_strength,
    "protocols": protocols,
    "scale": scale,
    "literature": literature,
}
# Those that compare canonicalizers of their own, in the order in which these are trained.
TRAINED = ("expressivity", "training_photos", "alignment", "prior_strength")
TITLES = {name: item.__doc__ for name, item in ITEMS.items()}
