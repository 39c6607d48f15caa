"""Canonical frames: the one place where photos, prompts and results change frames.

photo (user's frame) -> pose source -> ``CanonicalFrame`` -> photo and prompts moved
-> model called -> result moved back by the inverse
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.errors import InputError, check_choice
from samrot.geometry.canvas import PHOTO_FILL, photo_outline
from samrot.geometry.plane import GRID, PlaneTransform, snap_to_grid
from samrot.geometry.pose import Pose
from samrot.geometry.rotated_boxes import residue_deg, snap_rotated, upright_boxes
from samrot.robust.pose_sources import GivenPose, PoseSource
from samrot.structures.detections import Detections
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

TILT_POLICIES = ("quarter", "full", "auto")
SCORES_CANVAS = "same"  # of what a classifier is shown; all other models see all of the photo
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class CanonicalFrame:
    """How one photo lies in its canonical frame.

    Args:
        pose: pose of the photo, as its source has it; a tilt may be left as it is.
        transform: change of frame from the user's frame to the canonical one.
        snapped: prompts are rounded to 1/64 px, so that those of all elements of an exact orbit
            agree: if and only if a canonicalizer estimated the pose.
        fill: colour of what lies outside of a photo whose tilt is undone; None repeats its edge.
    """

    pose: Pose
    transform: PlaneTransform
    snapped: bool
    fill: tuple[float, ...] | None = PHOTO_FILL

    @classmethod
    def of_pose(
        cls,
        pose: Pose,
        size_hw: tuple[int, int],
        *,
        tilt: str = "quarter",
        canvas: str = "expand",
        snapped: bool = False,
        image: np.ndarray | None = None,
    ) -> CanonicalFrame:
        """The frame in which a photo of that pose and (height, width) is canonical.

        Args:
            pose: pose of the photo.
            size_hw: its size.
            tilt: ``quarter`` undoes the exact part alone, ``full`` the tilt too.
            canvas: where a tilt is undone, ``expand`` shows all of the photo, and fills what is
                beside it; ``same`` keeps its size, and repeats its edge: for models that take
                photos of one size.
            snapped: see the class.
            image: the photo, (H, W, 3) uint8 RGB. If it was tilted before, on such a canvas, then
                ``expand`` makes no room for that: the models would see the photo smaller.
        """
        check_choice("tilt", tilt, TILT_POLICIES[:2])
        undone = pose if tilt == "full" else replace(pose, tilt_deg=0.0)
        outline_xy = None if image is None or undone.tilt_deg == 0 else photo_outline(image)
        transform = PlaneTransform.to_canonical(undone, size_hw, canvas, outline_xy)
        return cls(pose, transform, snapped, PHOTO_FILL if canvas == "expand" else None)

    def canonical_image(self, image: np.ndarray) -> np.ndarray:
        """The photo, (H, W, 3), in the canonical frame, contiguous."""
        return self.transform.image(image, self.fill)

    def canonical_prompts(self, prompts: Prompts, *, in_canonical: bool = False) -> Prompts:
        """Prompts from the user's frame; where a tilt is undone, mask inputs are canonical.

        Rotated boxes become boxes: those at quarter turns are the boxes that they are, the others
        hold the ellipse inscribed in them, which is all of it where the frame makes them upright.

        Args:
            prompts: the prompts.
            in_canonical: boxes and points are in the canonical frame already.
        """
        turned, rest = self.transform.split()
        boxes, points, masks = prompts.boxes_xyxy, prompts.point_coords, prompts.mask_inputs
        if in_canonical:
            boxes, points = (None if part is None else self._snap(part) for part in (boxes, points))
        else:
            if boxes is not None:
                boxes = rest.boxes(self._snap(turned.boxes(boxes)))
            if points is not None:
                points = rest.points(self._snap(turned.points(points)))
        if prompts.rotated_boxes is not None:
            boxes = self._upright(prompts.rotated_boxes)
        if masks is not None and self.transform.is_exact:
            size_hw = (masks.shape[-2], masks.shape[-1])
            masks = PlaneTransform.to_canonical(Pose(self.pose.element), size_hw).logits(masks)
        return Prompts(boxes, points, prompts.point_labels, masks)

    def user_segmentation(self, segmentation: Segmentation, *, return_logits: bool) -> Segmentation:
        """Masks from the canonical frame; logits where a tilt is undone, as ``asks_logits`` says.

        The low-resolution logits stay canonical where a tilt is undone.
        """
        back, low_res = self.transform.inverse(), segmentation.low_res_logits
        masks = back.logits(segmentation.masks)
        if self.asks_logits and not return_logits:
            masks = masks > 0
        if self.transform.is_exact:
            size_hw = (low_res.shape[-2], low_res.shape[-1])
            low_res = PlaneTransform.from_pose(Pose(self.pose.element), size_hw).logits(low_res)
        return Segmentation(masks, segmentation.scores, low_res)

    def user_detections(self, detections: Detections) -> Detections:
        """Boxes and masks from the canonical frame.

        Raises:
            InputError: if the masks are not of the size of the canonical photo.
        """
        back, masks = self.transform.inverse(), detections.masks
        if masks is not None:
            if masks.shape[1:] != back.source_hw:
                raise InputError(
                    f"the detector returned masks of {masks.shape[1:]}; expected {back.source_hw}, "
                    "the size of the image that it was given"
                )
            masks = back.masks(masks)
        return Detections(
            back.boxes(detections.boxes_xyxy), detections.scores, detections.category_ids, masks
        )

    def exact_rotated(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Rotated boxes, (N, 5), from the user's frame, after the exact part and before a warp."""
        turned, _ = self.transform.split()
        moved = turned.rotated_boxes(rotated_boxes)
        return snap_rotated(moved, GRID) if self.snapped else moved

    @property
    def asks_logits(self) -> bool:
        """Whether masks must come as logits, to be warped before they are thresholded."""
        return not self.transform.is_exact

    def _upright(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Boxes, (N, 4) XYXY, in this frame, for rotated ones, (N, 5), of the user's."""
        turned, rest = self.transform.split()
        boxes = upright_boxes(rest.rotated_boxes(self.exact_rotated(rotated_boxes)))
        plain = residue_deg(rotated_boxes[:, 4]) == 0
        boxes[plain] = rest.boxes(self._snap(turned.boxes(upright_boxes(rotated_boxes[plain]))))
        return boxes

    def _snap(self, coordinates: np.ndarray) -> np.ndarray:
        return snap_to_grid(coordinates) if self.snapped else coordinates


def find_frame(
    image: np.ndarray,
    source: PoseSource,
    *,
    size_hw: tuple[int, int] | None = None,
    tilt: str = "quarter",
    canvas: str = "expand",
) -> CanonicalFrame:
    """Estimate the pose of a photo, and how it lies in the canonical frame.

    Args:
        image: (H, W, 3) uint8 RGB, what the pose source is shown.
        source: source of the pose.
        size_hw: (height, width) of the photo, if it is shown at another size.
        tilt, canvas: as in ``CanonicalFrame.of_pose``.
    """
    return _frame(source.estimate(image), source, image, tilt, canvas, size_hw)


def find_frames(
    images: Sequence[np.ndarray],
    sources: Sequence[PoseSource],
    *,
    tilt: str = "quarter",
    canvas: str = "expand",
) -> list[CanonicalFrame]:
    """As ``find_frame`` of each image and its source, at its own size.

    A canonicalizer is given all images of which it is the source together.
    """
    by_source: dict[int, list[int]] = {}
    for number, source in enumerate(sources):
        by_source.setdefault(id(source), []).append(number)
    poses: dict[int, Pose] = {}
    for numbers in by_source.values():
        source, own = sources[numbers[0]], [images[number] for number in numbers]
        if isinstance(source, Canonicalizer):
            estimated = source.estimate_each(own)
        else:
            estimated = [source.estimate(image) for image in own]
        poses.update(zip(numbers, estimated, strict=True))
    return [
        _frame(poses[number], source, image, tilt, canvas)
        for number, (image, source) in enumerate(zip(images, sources, strict=True))
    ]


def _frame(
    pose: Pose,
    source: PoseSource,
    image: np.ndarray,
    tilt: str,
    canvas: str,
    size_hw: tuple[int, int] | None = None,
) -> CanonicalFrame:
    # A pose with probabilities was estimated, be it before, as that of a burst.
    snapped = pose.probabilities is not None or not isinstance(source, GivenPose)
    of_pose = partial(CanonicalFrame.of_pose, pose, tilt=tilt, canvas=canvas, snapped=snapped)
    if size_hw is not None:
        return of_pose(size_hw)
    return of_pose((image.shape[0], image.shape[1]), image=image)


def walk(
    image: np.ndarray,
    source: PoseSource,
    model: Callable[[np.ndarray], Result],
    move_back: Callable[[CanonicalFrame, Result], Result],
    *,
    tilt: str = "quarter",
    canvas: str = "expand",
) -> Result:
    """Run a model on the canonical photo, and move what it says back.

    Args:
        image: (H, W, 3) uint8 RGB.
        source: source of the pose.
        model: takes the canonical photo.
        move_back: takes results from the canonical frame, as ``CanonicalFrame.user_detections``.
        tilt, canvas: as in ``CanonicalFrame.of_pose``.
    """
    frame = find_frame(image, source, tilt=tilt, canvas=canvas)
    return move_back(frame, model(frame.canonical_image(image)))
