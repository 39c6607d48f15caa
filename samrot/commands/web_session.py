"""What the page of ``samrot web`` does, without the page: a photo, plain and robust."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from samrot.canonicalizers import Canonicalizer
from samrot.drawing.overlays import DrawnObject, draw_objects
from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, factor_angle
from samrot.geometry.rle import decode_mask, encode_mask
from samrot.robust.image_state import PredictorState
from samrot.robust.mask_generator import RobustMaskGenerator
from samrot.robust.predictor import RobustPredictor
from samrot.segmenters import Segmenter
from samrot.structures.prompts import Prompts

PLAIN, ROBUST = "plain", "robust"
GRID = 16  # clicks a side of everything-mode: a page should answer soon


@dataclass(frozen=True, eq=False)
class Click:
    """A click of the person at the page.

    Args:
        xy: index of the pixel, (x, y), of the photo as it is shown.
        label: 1 in the object, 0 outside of it.
    """

    xy: tuple[int, int]
    label: int


@dataclass(frozen=True, eq=False)
class WebSession:
    """One photo at the page, and what was asked of it.

    Args:
        photo: (H, W, 3) uint8 RGB, as it was chosen.
        angle_deg: counter-clockwise turn of what is shown, degrees.
        shown: (H', W', 3) uint8 RGB, the photo so turned.
        states: it, encoded, as the plain and the robust predictor know it.
        pose: its pose, as the canonicalizer has it.
        probabilities: probability of each pose, by what the page calls it.
        encode_seconds: time of each of the two, seconds; the robust one canonicalizes too.
        clicks: clicks so far.
        corners: corners of a box so far, pixel indices: none, one or two.
        objects: masks found, in the frame that is shown; None before there was a prompt.
        seconds: time that each took to find them, seconds.
    """

    photo: np.ndarray
    angle_deg: float
    shown: np.ndarray
    states: dict[str, PredictorState]
    pose: Pose
    probabilities: dict[str, float]
    encode_seconds: dict[str, float]
    clicks: tuple[Click, ...] = ()
    corners: tuple[tuple[int, int], ...] = ()
    objects: dict[str, list[DrawnObject]] | None = None
    seconds: dict[str, float] | None = None

    def prompts(self) -> Prompts | None:
        """What was clicked and drawn, of one object, B = 1; None before it points at anything."""
        box = None
        if len(self.corners) == 2:
            corners = np.array(self.corners, dtype=float)
            # The pixels of both corners are inside.
            box = np.concatenate([corners.min(axis=0), corners.max(axis=0) + 1])[None]
        if box is None and not any(click.label == 1 for click in self.clicks):
            return None
        points = labels = None
        if self.clicks:
            points = np.array([[click.xy for click in self.clicks]], dtype=float)
            labels = np.array([[click.label for click in self.clicks]])
        return Prompts(box, points, labels)

    def drawn(self, which: str) -> np.ndarray:
        """The photo as it is shown, with what the plain or the robust predictor found."""
        if self.objects is None:
            return self.shown
        return draw_objects(self.shown, self.objects[which])

    def archive(self) -> bytes:
        """The masks as a zip file: PNG of each, and ``masks.json`` with RLE and predicted IoU.

        Raises:
            InputError: if there are none yet.
        """
        if self.objects is None:
            raise InputError("there are no masks yet; click an object, or draw a box around it")
        content = io.BytesIO()
        listed: dict[str, Any] = {"angle_deg": self.angle_deg, "pose": self.pose.element}
        listed["tilt_deg"] = self.pose.tilt_deg
        with zipfile.ZipFile(content, "w") as archive:
            for which, objects in self.objects.items():
                listed[which] = [
                    {"segmentation": item.rle, "predicted_iou": item.score} for item in objects
                ]
                for index, item in enumerate(objects):
                    png = io.BytesIO()
                    Image.fromarray(decode_mask(item.rle).astype(np.uint8) * 255).save(png, "PNG")
                    archive.writestr(f"{which}_{index:03d}.png", png.getvalue())
            archive.writestr("masks.json", json.dumps(listed, indent=1))
        return content.getvalue()


class SideBySide:
    """One segmenter, plain and behind a canonicalizer; one photo at a time uses it.

    Args:
        segmenter: what segments.
        canonicalizer: what estimates poses.
        tilt: as of ``RobustPredictor``.
    """

    def __init__(self, segmenter: Segmenter, canonicalizer: Canonicalizer, tilt: str) -> None:
        self.segmenter, self.canonicalizer, self.tilt = segmenter, canonicalizer, tilt
        self.predictors = {
            PLAIN: RobustPredictor(segmenter, None),
            ROBUST: RobustPredictor(segmenter, canonicalizer, tilt=tilt),
        }
        self._busy = threading.Lock()

    def open(self, photo: np.ndarray, angle_deg: float = 0.0) -> WebSession:
        """A photo, (H, W, 3) uint8 RGB, turned and encoded by both."""
        element, tilt_deg = factor_angle(angle_deg)
        size_hw = (photo.shape[0], photo.shape[1])
        turn = PlaneTransform.from_pose(Pose(element, tilt_deg), size_hw, canvas="expand")
        shown = np.ascontiguousarray(turn.image(photo))
        states, seconds = {}, {}
        with self._busy:
            for which, predictor in self.predictors.items():
                start = time.perf_counter()
                predictor.set_image(shown)
                seconds[which] = time.perf_counter() - start
                states[which] = predictor.get_state()
            robust = self.predictors[ROBUST]
            pose, shares = robust.current_pose, robust.pose_probabilities.tolist()
        names = [f"{name}°" for name in self.canonicalizer.group.names]
        probabilities = dict(zip(names, shares, strict=True))
        return WebSession(photo, angle_deg, shown, states, pose, probabilities, seconds)

    def ask(
        self,
        session: WebSession,
        clicks: Sequence[Click] = (),
        corners: Sequence[tuple[int, int]] = (),
    ) -> WebSession:
        """The session with the masks of these prompts, of one object."""
        session = replace(
            session, clicks=tuple(clicks), corners=tuple(corners), objects=None, seconds=None
        )
        prompts = session.prompts()
        if prompts is None:
            return session
        objects, seconds = {}, {}
        with self._busy:
            for which, predictor in self.predictors.items():
                start = time.perf_counter()
                predictor.set_state(session.states[which])
                best = predictor.best_masks(prompts, multimask=len(session.clicks) == 1)
                mask, score = best.masks[0, 0].cpu().numpy(), float(best.scores[0, 0])
                seconds[which] = time.perf_counter() - start
                objects[which] = [DrawnObject(encode_mask(mask), score, prompts)]
        return replace(session, objects=objects, seconds=seconds)

    def everything(self, session: WebSession) -> WebSession:
        """The session with masks of everything in the photo.

        Raises:
            InputError: if the segmenter has no everything-mode.
        """
        objects, seconds = {}, {}
        generator = RobustMaskGenerator(self.segmenter, GRID, canonicalizer=None, tilt=self.tilt)
        with self._busy:
            for which, pose in {PLAIN: Pose(), ROBUST: session.pose}.items():
                start = time.perf_counter()
                objects[which] = [
                    DrawnObject(encode_mask(record["segmentation"]), record["predicted_iou"])
                    for record in generator.generate(session.shown, pose=pose)
                ]
                seconds[which] = time.perf_counter() - start
        return replace(session, clicks=(), corners=(), objects=objects, seconds=seconds)
