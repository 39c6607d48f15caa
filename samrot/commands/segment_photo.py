"""One photo of ``samrot segment``: read, put upright, segmented, written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samrot.canonicalizers import CanonicalizerChoice
from samrot.commands.bursts import Burst, estimate_burst
from samrot.commands.photo_runs import NAME, PhotoItem, ReadPhoto, read_ahead
from samrot.commands.segment_results import remove_result, write_result
from samrot.data.images import exif_orientation
from samrot.data.storage import Place, join
from samrot.drawing.overlays import DrawnObject
from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, exif_element
from samrot.geometry.rle import encode_mask
from samrot.robust.mask_generator import RobustMaskGenerator
from samrot.robust.predictor import RobustPredictor
from samrot.runtime.records import Record
from samrot.segmenters import SegmenterSettings
from samrot.structures.prompts import Prompts


@dataclass(frozen=True)
class SegmentItem(PhotoItem):
    """One photo, and what of it is asked for.

    Args:
        folder: folder of its results, below that of all.
        prompts: an object each, in the displayed frame; none where everything is segmented.
        burst: the photos that share its pose; None where it has one of its own.
    """

    folder: str
    prompts: tuple[Prompts, ...]
    burst: Burst | None = None


class SegmentWorker:
    """Segments photos and writes their results; see ``Worker``.

    Args:
        root: folder of all results.
        segmenter: which segmenter, and how prompts are decoded.
        canonicalizer: which canonicalizer.
        device: device of the models.
        frame: frame of the masks: displayed, stored or upright.
        tilt: what of a pose is undone: quarter, full, or auto (quarter for prompts, full for
            everything).
        min_confidence: probability of its pose below which a photo is uncertain.
        grid: arguments of the mask generator, to segment everything; None for prompts.

    Raises:
        InputError: if a model cannot be loaded, or cannot do what is asked for.
    """

    def __init__(
        self,
        root: Place,
        segmenter: SegmenterSettings,
        canonicalizer: CanonicalizerChoice,
        device: str,
        frame: str,
        tilt: str,
        min_confidence: float,
        grid: dict[str, Any] | None,
    ) -> None:
        self.root = root
        self.decoding = segmenter
        self.frame = frame
        self.min_confidence = min_confidence
        loaded = segmenter.load(device)
        self.segmenter_name = loaded.name
        self.canonicalizer: Any = canonicalizer.load(device)
        self.predictor: RobustPredictor | None = RobustPredictor(
            loaded, self.canonicalizer, tilt=tilt
        )
        self.poses_of_bursts: dict[Burst, tuple[Pose, int]] = {}
        self.generator: RobustMaskGenerator | None = None
        if grid is not None:
            self.generator = RobustMaskGenerator(
                loaded, canonicalizer=self.canonicalizer, tilt=tilt, **grid
            )

    def run(self, items: Sequence[SegmentItem], write: Callable[[Record], None]) -> None:
        """See ``Worker.run``."""
        for item, photo in read_ahead(items):
            folder = join(self.root, item.folder)
            remove_result(folder)
            try:
                if isinstance(photo, InputError):
                    raise photo
                objects, pose = self._segment(item, photo.image)
                size_hw = (photo.image.shape[0], photo.image.shape[1])
                about = self._about(item, pose)
                upright = PlaneTransform.to_canonical(Pose(pose.element), size_hw)
                frame = self._frame(photo, upright, size_hw)
                found = write_result(folder, photo.image, objects, about, frame, upright)
                write({NAME: item.name, "folder": item.folder, **found})
            except InputError as error:
                write(item.failure(str(error)))

    def close(self) -> None:
        """Let the models go."""
        self.canonicalizer = self.predictor = self.generator = None

    def _about(self, item: SegmentItem, pose: Pose) -> dict[str, Any]:
        prompted = self.predictor if self.generator is None else None
        passes = {} if prompted is None else {"encoder_passes": prompted.encoder_passes}
        burst = {}
        if item.burst is not None:
            _, photos = self.poses_of_bursts[item.burst]
            burst = {"burst": {"folder": item.burst.folder, "photos": photos}}
        return {
            "image": str(item.place),
            "frame": self.frame,
            "pose": pose.element,
            "tilt_deg": pose.tilt_deg,
            "pose_probabilities": np.asarray(pose.probabilities).tolist(),
            "pose_confidence": pose.confidence,
            "pose_uncertain": pose.confidence < self.min_confidence,
            "segmenter": self.segmenter_name,
            **passes,
            **burst,
        }

    def _frame(
        self, photo: ReadPhoto, upright: PlaneTransform, size_hw: tuple[int, int]
    ) -> PlaneTransform:
        """From the displayed photo to that of the masks."""
        if self.frame == "upright":
            return upright
        stored = Pose()
        if self.frame == "stored":
            stored = Pose(exif_element(exif_orientation("", content=photo.content)))
        return PlaneTransform.from_pose(stored, size_hw)

    def _known_pose(self, item: SegmentItem) -> Pose | None:
        """The pose of the burst that a photo is of."""
        if item.burst is None:
            return None
        if item.burst not in self.poses_of_bursts:
            self.poses_of_bursts[item.burst] = estimate_burst(self.canonicalizer, item.burst)
        return self.poses_of_bursts[item.burst][0]

    def _segment(self, item: SegmentItem, image: np.ndarray) -> tuple[list[DrawnObject], Pose]:
        """Objects as displayed, and the pose."""
        pose = self._known_pose(item)
        if self.generator is not None:
            pose = pose or self.canonicalizer.estimate(image)
            return [
                DrawnObject(encode_mask(record["segmentation"]), record["predicted_iou"])
                for record in self.generator.generate(image, pose=pose)
            ], pose
        assert self.predictor is not None
        self.predictor.set_image(image, pose=pose)
        found = self.predictor.best_masks_each(
            item.prompts, multimask=self.decoding.multimask, refine=self.decoding.refine
        )
        objects = [
            DrawnObject(
                encode_mask(best.masks[0, 0].cpu().numpy()), float(best.scores[0, 0]), prompt
            )
            for prompt, best in zip(item.prompts, found, strict=True)
        ]
        return objects, self.predictor.current_pose
