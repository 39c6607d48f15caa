"""How inputs are broken, and what may come of them."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from samrot.errors import InputError

Result = TypeVar("Result")
# The same examples each time, unless a number of new ones is asked for.
NEW = int(os.environ.get("SAMROT_FUZZ", "0"))


def examples(number: int) -> settings:
    """So many examples by default."""
    return settings(
        max_examples=NEW or number,
        derandomize=not NEW,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def outcome(call: Callable[[], Result]) -> Result | None:
    """What a call returns, or None if it refuses in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except InputError as error:
            assert str(error)
            assert len(str(error)) < 2000
            return None


JSON_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**12, -(10**30), 10**400, 1e300, 0.5, -0.0, float("nan"), float("inf")]),
    st.text(max_size=4),
    st.sampled_from(["C4", "gcnn", "../x", "\0", "7", "nan", "[1]", "a\nb", "\ud800"]),
)
JSON = st.recursive(
    JSON_LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@st.composite
def broken_json(draw: Any, content: Any, most: int = 2) -> Any:
    """A JSON value of which one or two parts, anywhere in it, are replaced or left out."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, most))):
        parent, place, part = None, None, content
        while isinstance(part, dict | list) and part and draw(st.integers(0, 5)):
            keys = sorted(part) if isinstance(part, dict) else range(len(part))
            parent, place = part, draw(st.sampled_from(list(keys)))
            part = parent[place]
        if parent is None:
            content = draw(JSON)
        elif draw(st.booleans()):
            parent[place] = draw(JSON)
        else:
            del parent[place]
    return content


@st.composite
def broken_bytes(draw: Any, content: bytes, head: int = 400) -> bytes:
    """Bytes of which some are changed, most of them among the first, or that end too soon."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 6))):
        most = len(changed) if draw(st.integers(0, 3)) == 0 else min(head, len(changed))
        place = draw(st.integers(0, most - 1))
        changed[place] = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    if draw(st.integers(0, 3)) == 0:
        del changed[draw(st.integers(0, len(changed))) :]
    return bytes(changed)
