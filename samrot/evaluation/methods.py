"""The methods that are compared: each a source of poses.

To add one: a function from the canonicalizer and the view to a pose source, and a line in
``METHODS``; or, from another package, an entry point of the group ``samrot.methods``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from samrot.canonicalizers import Canonicalizer
from samrot.errors import check_choice
from samrot.evaluation.views import OrbitView
from samrot.robust.pose_sources import (
    UPRIGHT,
    GivenPose,
    OrbitSource,
    PoseSource,
    UnsureCanonicalizer,
    WholeOrbit,
)
from samrot.runtime.plugins import find_plugins


@dataclass(frozen=True)
class Method:
    """One way to treat a photo that may be turned.

    Args:
        pose_source: source of poses of a view; between those of an orbit source the segmenter
            decides.
        estimates: the poses are estimated, and scored.
        needs_canonicalizer: a canonicalizer estimates them.
        undoes_pose: False for methods whose masks are of no one pose.
        averages: masks are averaged over the poses of an orbit source.
        asks_segmenter: the predicted IoU has a say in the pose.
    """

    pose_source: Callable[[Canonicalizer | None, OrbitView], PoseSource | OrbitSource]
    estimates: bool = False
    needs_canonicalizer: bool = False
    undoes_pose: bool = True
    averages: bool = False
    asks_segmenter: bool = False


def _canonical(canonicalizer: Canonicalizer | None, view: OrbitView) -> PoseSource:
    assert canonicalizer is not None
    return canonicalizer


def _hybrid(canonicalizer: Canonicalizer | None, view: OrbitView) -> OrbitSource:
    assert canonicalizer is not None
    return UnsureCanonicalizer(canonicalizer)


# The pose is known before the model is asked: these serve every task.
POSE_METHODS = {
    # The plain model on the turned photo.
    "none": Method(lambda _, view: UPRIGHT, undoes_pose=False),
    # Turned back as the canonicalizer says.
    "canonical": Method(_canonical, estimates=True, needs_canonicalizer=True),
    # Turned back by the known angle.
    "oracle": Method(lambda _, view: GivenPose(view.pose)),
}

METHODS = {
    **POSE_METHODS,
    # Turned back to where the segmenter is surest of its masks.
    "confidence": Method(
        lambda _, view: WholeOrbit(view.group), estimates=True, asks_segmenter=True
    ),
    # Turned back as the canonicalizer says, and where it is unsure, as the segmenter does.
    "hybrid": Method(_hybrid, estimates=True, needs_canonicalizer=True, asks_segmenter=True),
    # The mean of the masks' logits over the orbit.
    "tta": Method(lambda _, view: WholeOrbit(view.group), undoes_pose=False, averages=True),
}


def ask_canonicalizer(methods: Iterable[str]) -> bool:
    """Whether any of the methods asks the canonicalizer."""
    return any(find_method(method).needs_canonicalizer for method in methods)


def find_method(name: str) -> Method:
    """A method of the evaluation of a segmenter.

    Args:
        name: a key of ``METHODS``, or the name of one that an installed package brings.

    Raises:
        InputError: if there is none of that name; or if that of another package fails, or gives no
            ``Method``.
    """
    return METHODS[name] if name in list(METHODS) else _plugin_method(str(name))


@cache  # it is asked for at every view of every photo
def _plugin_method(name: str) -> Method:
    plugins = find_plugins("methods")
    check_choice("methods entry", name, [*METHODS, *plugins])
    method = plugins[name].make()
    if not isinstance(method, Method):
        raise plugins[name].refusal(
            f"gives a {type(method).__name__}; expected a samrot.evaluation.methods.Method"
        )
    return method
