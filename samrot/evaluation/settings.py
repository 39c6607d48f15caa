"""Settings of ``samrot evaluate``, checked once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from samrot.canonicalizers import CanonicalizerChoice
from samrot.data.coco import DataSettings
from samrot.errors import InputError, check_choice, check_count
from samrot.evaluation.methods import POSE_METHODS, ask_canonicalizer, find_method
from samrot.evaluation.prompts import PromptSettings
from samrot.evaluation.views import ANGLES, OrbitView, check_views, find_views
from samrot.robust.frames import TILT_POLICIES
from samrot.scoring import SCORERS
from samrot.segmenters import SegmenterSettings

SEED = 2310  # of the sample that a limit draws
DETECTOR = "detector"  # that segments by itself
SCORES = ("auto", "detector", "segmenter", "product")


@dataclass(kw_only=True)
class RunSettings:
    """What every evaluation has, whatever its task.

    Args:
        out: run folder; one that exists with the same settings is continued.
        data: what is evaluated; its ``load`` gives the data set.
        canonicalizer: which canonicalizer; its ``load`` gives it.
        task: a key of ``TASKS``.
        methods: methods compared: none (plain), canonical, oracle (turned back as it is known to be
            turned); confidence, hybrid and tta of segmentation.
        limit: largest number of photos, or clouds, for a quick look: a sample, always the same; it
            may grow, and what was run is kept.
        report: write ``report.html``, one page with everything, that needs no network.
        device: where the models run: cpu, cuda, cuda:1, mps, or auto.
        devices: processes on this machine that share the work.
        nodes: machines; with more than one, start samrot by ``torchrun``.
    """

    known_methods: ClassVar[Collection[str]] = POSE_METHODS
    # Without what was run being lost; see ``RunFolder.open``.
    may_grow: ClassVar[Mapping[str, str | None]] = {"limit": None}

    out: str
    data: Any
    task: str
    canonicalizer: Any
    methods: list[str] = field(default_factory=lambda: ["none", "canonical"])
    limit: int | None = None
    report: bool = True
    device: str = "cpu"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        for value in self.methods:
            self.check_method(value)
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise InputError(f"methods is {self.methods}; expected each once, and at least one")
        if self.limit is not None:
            check_count("limit", self.limit, 1)
        for name in ("devices", "nodes"):
            check_count(name, getattr(self, name), 1)

    def check_method(self, name: str) -> None:
        """Refuse a method that is not known to this task.

        Raises:
            InputError: naming those that are.
        """
        check_choice("methods entry", name, self.known_methods)

    @property
    def asks_canonicalizer(self) -> bool:
        """Whether any of the methods asks the canonicalizer."""
        return ask_canonicalizer(self.methods)

    def input_files(self) -> dict[str, str | None]:
        """Setting -> file, of those whose content is part of what is run."""
        raise NotImplementedError


@dataclass(kw_only=True)
class EvaluateSettings(RunSettings):
    """Settings of ``samrot evaluate``, besides those of every task.

    Methods that segment more than one turn of a photo: confidence (the segmenter's predicted IoU
    picks the turn), hybrid (the canonicalizer does where it is sure), tta (mean of the logits).
    Installed packages may bring more (``samrot models``).

    Args:
        data: a COCO-format dataset of upright photos.
        task: segmentation; or pointcloud, which has settings of its own.
        segmenter: which segmenter.
        canonicalizer: which canonicalizer.
        angles: counter-clockwise turns of the photos, degrees, at least 0 and below 360; 0, 90, 180
            and 270 by default. At others the photos are resampled, once, on a canvas that holds
            all of them.
        group: group whose elements move the photos, instead of angles: c4 (four turns), c8 (eight)
            or d4 (four, and their mirror images).
        prompts: boxes to prompt with.
        images_per_batch: canonical images encoded at once; more may be faster on a GPU, and change
            masks by rounding.
        score: what scores a mask: detector, segmenter (predicted IoU), product; auto takes the
            detector's where there is one.
        tilt: what of a pose is undone: quarter (quarter turns and mirrors), full (a tilt too, by
            one warp), or auto: full where a detector sees the canonical photo, quarter for boxes
            that are given.
        scorer: what computes AP: pycocotools, or faster-coco-eval for the same numbers sooner.
        bootstrap: resamples of the photos, for 95 % intervals of the numbers; 0 for none. It may
            grow.
    """

    may_grow: ClassVar[Mapping[str, str | None]] = {"limit": None, "bootstrap": None}

    data: DataSettings
    task: str = "segmentation"
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    angles: list[float] | None = None
    group: str | None = None
    prompts: PromptSettings = field(default_factory=PromptSettings)
    images_per_batch: int = 1
    tilt: str = "auto"
    score: str = "auto"
    scorer: str = SCORERS[0]
    bootstrap: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task", self.task, ("segmentation",))
        if self.group is not None and self.angles is not None:
            raise InputError(
                f"group is {self.group!r} and angles {self.angles}; a group is short for its "
                "angles: give one of the two"
            )
        if self.group is None and self.angles is None:
            self.angles = list(ANGLES)
        check_views(self.angles or (), self.group)
        check_choice("tilt", self.tilt, TILT_POLICIES)
        tilted = [view.key for view in self.views() if not view.is_exact]
        if tilted and self.prompts.source == "detections":
            raise InputError(
                f"the photos are turned by {tilted[0]} degrees, which detections on file do not "
                "have; set prompts.source to gt or detector, or take quarter turns alone"
            )
        check_choice("score", self.score, SCORES)
        check_choice("scorer", self.scorer, SCORERS)
        if self.segmenter.name == DETECTOR:
            if self.prompts.source != DETECTOR:
                raise InputError(
                    f"segmenter.name is {DETECTOR}, but prompts.source {self.prompts.source!r}; "
                    f"set it to {DETECTOR}, whose masks are scored"
                )
            if self.segmenter != SegmenterSettings(name=DETECTOR) or self.score != "auto":
                raise InputError(
                    f"segmenter.name is {DETECTOR}, which takes no other segmenter setting and no "
                    "score; leave them out"
                )
        self._check_methods()
        check_count("bootstrap", self.bootstrap, 0)
        check_count("images_per_batch", self.images_per_batch, 1)

    def check_method(self, name: str) -> None:
        """See ``RunSettings``; those of other packages are known too."""
        find_method(name)

    def input_files(self) -> dict[str, str | None]:
        """Annotations, prompts and checkpoints."""
        file = self.prompts.file
        of_views = file if isinstance(file, dict) else {None: file}
        return {
            "data.annotations": self.data.annotations,
            "segmenter.checkpoint": self.segmenter.checkpoint,
            "canonicalizer.name": self.canonicalizer.name,
            **{
                "prompts.file" + ("" if angle is None else f".{angle}"): path
                for angle, path in of_views.items()
            },
        }

    def _check_methods(self) -> None:
        found = {name: find_method(name) for name in self.methods}
        many = [name for name, method in found.items() if method.averages or method.asks_segmenter]
        if many and self.segmenter.name == DETECTOR:
            raise InputError(
                f"methods holds {many[0]}, which asks a segmenter, but segmenter.name is "
                f"{DETECTOR}; leave it out"
            )
        averaging = [name for name, method in found.items() if method.averages]
        if averaging and self.prompts.source == "gt-rotated":
            raise InputError(
                f"methods holds {averaging[0]}, whose masks are of the same frames for all boxes, "
                "but prompts.source is gt-rotated; leave it out, or set prompts.source to gt"
            )
        differ = self.prompts.source == "detector" or isinstance(self.prompts.file, dict)
        if differ and averaging:
            raise InputError(
                f"methods holds {averaging[0]}, whose masks are of the same prompts in every turn, "
                "but the detector gives others in each; leave it out, or set prompts.source to gt"
            )

    @property
    def undone(self) -> str:
        """``tilt`` with auto resolved: ``quarter`` or ``full``."""
        if self.tilt != "auto":
            return self.tilt
        return "full" if self.prompts.source == "detector" else "quarter"

    def views(self) -> list[OrbitView]:
        """The views of every photo, upright first where it is among them."""
        return find_views(self.angles or (), self.group)


def sample(ids: list[int], limit: int | None) -> list[int]:
    """At most so many ids, ascending: drawn, always the same, and all of them at a larger limit."""
    if limit is None:
        return ids
    order = np.random.default_rng(SEED).permutation(len(ids))
    return sorted(ids[i] for i in order[:limit])
