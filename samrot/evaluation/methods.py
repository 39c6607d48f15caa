"""The methods that are compared: each a source of poses.

To add one: a function from the canonicalizer and the view to a pose source, and a line in
``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from samrot.canonicalizers import Canonicalizer
from samrot.evaluation.views import OrbitView
from samrot.robust.pose_sources import UPRIGHT, GivenPose, PoseSource


@dataclass(frozen=True)
class Method:
    """One way to treat a photo that may be turned.

    Args:
        pose_source: source of poses of a view.
        estimates: a canonicalizer is needed, and its poses are scored.
        undoes_pose: False for the plain model, which knows of no poses.
    """

    pose_source: Callable[[Canonicalizer | None, OrbitView], PoseSource]
    estimates: bool = False
    undoes_pose: bool = True


def _canonical(canonicalizer: Canonicalizer | None, view: OrbitView) -> PoseSource:
    assert canonicalizer is not None
    return canonicalizer


METHODS = {
    # The plain model on the turned photo.
    "none": Method(lambda _, view: UPRIGHT, undoes_pose=False),
    # Turned back as the canonicalizer says.
    "canonical": Method(_canonical, estimates=True),
    # Turned back by the known angle.
    "oracle": Method(lambda _, view: GivenPose(view.pose)),
}
