"""The law of a canonicalizer, checked on a photo: where it breaks, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from samrot.canonicalizers.canonicalizer import Canonicalizer
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4, FiniteGroup
from samrot.geometry.pose import factor

# Type of the evidence -> what rounding may add up to, relative to its largest value and at least 1.
TOLERANCES = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.bfloat16: 0.1,
    torch.float16: 0.02,
}


class LawViolation(NamedTuple):
    """An element of a group with which a canonicalizer does not commute.

    Args:
        element: its name.
        difference: what is off, and by how much.
    """

    element: str
    difference: str


def exact_elements(group: FiniteGroup) -> dict[int, int]:
    """Elements of a group that move pixels without resampling -> the same element of D4."""
    factored = {g: factor(group, g) for g in range(group.order)}
    return {g: element for g, (element, tilt_deg) in factored.items() if tilt_deg == 0}


def law_violations(
    canonicalizer: Canonicalizer,
    image: np.ndarray,
    group: FiniteGroup,
    *,
    tolerance: float | None = None,
) -> Iterator[LawViolation]:
    """Where evidence(g x)[h] = evidence(x)[g^-1 h] does not hold, or a pose does not follow.

    Poses are passed over where the evidence ties, as that of a photo that is itself symmetric.

    Args:
        canonicalizer: what is checked.
        image: x, (H, W, 3) uint8 RGB.
        group: group whose exact elements g are tried; its canonicalizer's, or one within it.
        tolerance: largest difference of the evidence, relative to its largest value and at least
            1; None takes that of its type in ``TOLERANCES``.

    Yields:
        What breaks at an element, which is named first.
    """
    own = {element: g for g, element in exact_elements(canonicalizer.group).items()}
    names = canonicalizer.group.names
    upright, pose = _evidence(canonicalizer, image), canonicalizer.estimate(image)
    limit = TOLERANCES.get(upright.dtype, 1e-10) if tolerance is None else tolerance
    limit *= max(1.0, float(upright.abs().max()))
    likeliest = upright.double().topk(2).values
    has_tie = float(likeliest[0] - likeliest[1]) <= 2 * limit
    for h, element in exact_elements(group).items():
        if element not in own:
            yield LawViolation(
                group.names[h], f"it is none of {canonicalizer.group.name}, its evidence's"
            )
            continue
        moved = move_image(image, element)
        found = _evidence(canonicalizer, moved)
        expected = canonicalizer.group.act_on_logits(upright, own[element])
        off = (found - expected).abs().double()
        worst = int(off.argmax())
        if not float(off[worst]) <= limit:
            yield LawViolation(
                group.names[h],
                f"its evidence for {names[worst]} is {float(found[worst]):.6g}, "
                f"expected {float(expected[worst]):.6g}; off by {float(off[worst]):.2g}, more "
                f"than {limit:.1g}",
            )
        elif not has_tie:
            turned, wanted = canonicalizer.estimate(moved), D4.compose(element, pose.element)
            if (turned.element, turned.tilt_deg) != (wanted, pose.tilt_deg):
                yield LawViolation(
                    group.names[h],
                    f"its pose is {D4.names[turned.element]} tilted by "
                    f"{turned.tilt_deg:.6g} degrees, expected {D4.names[wanted]} tilted by "
                    f"{pose.tilt_deg:.6g}",
                )


def _evidence(canonicalizer: Canonicalizer, image: np.ndarray) -> Tensor:
    """The logits of a photo, (|G|,).

    Raises:
        InputError: if they are of another shape.
    """
    logits = canonicalizer.logits(image)
    order = canonicalizer.group.order
    if tuple(logits.shape) != (order,):
        raise InputError(
            f"the evidence has shape {tuple(logits.shape)}; expected ({order},), a value for each "
            f"element of {canonicalizer.group.name}"
        )
    return logits
