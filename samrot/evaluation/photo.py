"""A photo on its way through the stages of a segmentation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from samrot.evaluation.methods import Method, find_method
from samrot.evaluation.prompts import ViewPrompts
from samrot.evaluation.views import OrbitView
from samrot.geometry.rle import RLE
from samrot.robust.frames import CanonicalFrame
from samrot.robust.pipeline import CanonicalImage

STAGES = ("read", "canonicalize", "prompt", "encode", "decode", "record")


@dataclass
class EncodedView:
    """The masks of a view in the upright frame, so far, by the row of their prompt.

    Args:
        rles: as run-length encodings.
        predicted_ious: likewise.
    """

    rles: dict[int, RLE] = field(default_factory=dict)
    predicted_ious: dict[int, float] = field(default_factory=dict)


@dataclass
class Photo:
    """A photo on its way through the stages.

    Args:
        image_id: id in the dataset.
        upright: (H, W, 3) uint8 RGB.
        asked: what is asked of it.
        views: the same, when it is decided how they lie.
        seconds: stage -> spent so far.
        encoded: what came of each view, so far.
        sureties: mean predicted IoU by what was asked, see ``MemoSegmenter.question``.
    """

    image_id: int
    upright: np.ndarray
    asked: list[AskedView] = field(default_factory=list)
    views: list[MethodView] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    encoded: dict[MethodView, EncodedView] = field(default_factory=dict)
    sureties: dict[bytes, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time within as that stage's."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class PromptedFrame:
    """How a method may take a view to lie.

    Args:
        frame: change of frame to the canonical one.
        prompts: prompts of the view.
        log_weight: see ``Candidate``.
    """

    frame: CanonicalFrame
    prompts: ViewPrompts
    log_weight: float


@dataclass(frozen=True, eq=False)
class AskedView:
    """A view of a photo under one method.

    Args:
        method: a key of ``METHODS``.
        view: how the upright photo was moved.
        image: (H, W, 3) uint8 RGB, the view; shared by the methods.
        candidates: how it may lie; one where the segmenter has no say.
    """

    method: str
    view: OrbitView
    image: np.ndarray
    candidates: list[PromptedFrame]


@dataclass(frozen=True, eq=False)
class MethodView:
    """A view of a photo under one method that knows how it lies.

    Args:
        asked: what was asked.
        frame: how the method takes it to lie; the first of them where it averages.
        prompts: prompts of the view.
        images: canonical images to segment: one, or those that are averaged; None where nothing
            segments.
        objects: frames of rotated boxes besides, in which the photo is encoded once more each.
    """

    asked: AskedView
    frame: CanonicalFrame
    prompts: ViewPrompts
    images: list[CanonicalImage | None]
    objects: list[CanonicalFrame] = field(default_factory=list)

    @property
    def method(self) -> Method:
        """How the view is treated."""
        return find_method(self.asked.method)

    @property
    def view(self) -> OrbitView:
        """How the upright photo was moved."""
        return self.asked.view


@dataclass(frozen=True, eq=False)
class SegmentedBatch:
    """Some masks of a view: few enough for memory, however many prompts there are.

    Args:
        photo: the photo that it is a view of.
        of_view: view and method segmented.
        masks: (N, H, W) bool, in the frame of the view.
        predicted_ious: (N,) of the masks.
        rows: (N,) the prompts that they are of.
    """

    photo: Photo
    of_view: MethodView
    masks: np.ndarray
    predicted_ious: np.ndarray
    rows: np.ndarray
