"""The pipeline: canonicalize, segment, undo. The one place where frames change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from samrot.canonicalizers import Canonicalizer, PosePrediction, load_canonicalizer
from samrot.canonicalizers.base import check_image
from samrot.errors import InputError, check_choice
from samrot.geometry import actions
from samrot.geometry.groups import C4
from samrot.segmenters import Encoding, Prompts, SamSegmenter, Segmentation, Segmenter
from samrot.types import Detections

Detector = Callable[[np.ndarray], Detections]


@dataclass(frozen=True)
class CanonicalFrame:
    """How one image lies in its canonical frame.

    Args:
        pose: the image is the canonical one turned by pose x 90 degrees CCW.
        size_hw: of the image, in the user's frame.
        snapped: canonical coordinates are rounded to 1/64 px, so that all turns of a prompt agree.
    """

    pose: int
    size_hw: tuple[int, int]
    snapped: bool

    def canonical_image(self, image: np.ndarray) -> np.ndarray:
        """The image turned back by its pose, contiguous."""
        return actions.rotate_image(image, -self.pose)

    def canonical_boxes(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) from the user's frame."""
        return self._snap(actions.rotate_boxes(boxes_xyxy, -self.pose, self.size_hw))

    def canonical_points(self, points_xy: np.ndarray) -> np.ndarray:
        """Points (..., 2) from the user's frame."""
        return self._snap(actions.rotate_points(points_xy, -self.pose, self.size_hw))

    def canonical_planes(self, planes: Tensor) -> Tensor:
        """Masks or logits (..., H, W) from the user's frame."""
        return actions.rotate_tensor(planes, -self.pose)

    def user_boxes(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) from the canonical frame."""
        canonical_size = actions.rotate_size(self.size_hw, self.pose)
        return actions.rotate_boxes(boxes_xyxy, self.pose, canonical_size)

    def user_planes(self, planes: Tensor) -> Tensor:
        """Masks or logits (..., H, W) from the canonical frame."""
        return actions.rotate_tensor(planes, self.pose)

    def _snap(self, coordinates: np.ndarray) -> np.ndarray:
        return actions.snap_to_grid(coordinates) if self.snapped else coordinates


@dataclass(frozen=True)
class _CurrentImage:
    frame: CanonicalFrame
    encoding: Encoding
    probabilities: np.ndarray | None


class RobustPredictor:
    """A drop-in for ``segment_anything.SamPredictor`` that does not mind how the photo is turned.

    Everything that goes in or comes out is in the frame of the image that the user gave.

    Args:
        segmenter: from ``samrot.load_segmenter``, or a ``segment_anything`` Sam model.
        canonicalizer: a ``Canonicalizer``, a name or path for ``samrot.load_canonicalizer``, or
            None for the plain segmenter through the same code.
    """

    def __init__(
        self,
        segmenter: Segmenter | Sam,
        canonicalizer: Canonicalizer | str | Path | None = "c4",
    ) -> None:
        self.segmenter: Segmenter = (
            SamSegmenter(segmenter) if isinstance(segmenter, Sam) else segmenter
        )
        if isinstance(canonicalizer, str | Path):
            canonicalizer = load_canonicalizer(canonicalizer, device=str(self.segmenter.device))
        self.canonicalizer = canonicalizer
        self._current: _CurrentImage | None = None

    def set_image(
        self, image: np.ndarray, image_format: str = "RGB", *, pose: int | None = None
    ) -> None:
        """Canonicalize and encode an image; ``predict`` then refers to it.

        Args:
            image: (H, W, 3) uint8.
            image_format: ``RGB`` or ``BGR``.
            pose: the image's pose if it is known, 0..3; None predicts it.

        Raises:
            InputError: if an argument is off; the image set before stays.
        """
        check_image(image)
        check_choice("image_format", image_format, ("RGB", "BGR"))
        if image_format == "BGR":
            image = np.ascontiguousarray(image[..., ::-1])
        probabilities = None
        known = pose is not None
        if pose is None:
            prediction = self._predict_pose(image)
            pose, probabilities = prediction.pose, prediction.probabilities
        check_choice("pose", pose, range(C4.order))
        frame = CanonicalFrame(
            pose=int(pose),
            size_hw=(image.shape[0], image.shape[1]),
            snapped=self.canonicalizer is not None or known,
        )
        encoding = self.segmenter.encode(frame.canonical_image(image))
        self._current = _CurrentImage(frame, encoding, probabilities)

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment what the prompts point at, as ``SamPredictor.predict``.

        Args:
            point_coords: (N, 2), (x, y) in pixels.
            point_labels: (N,), 1 foreground, 0 background.
            box: (4,), XYXY in pixels.
            mask_input: (1, h, w), the low-resolution logits of an earlier call.
            multimask_output: three candidates instead of one.
            return_logits: logits instead of a binary mask.

        Returns:
            Masks (C, H, W) bool or float32, scores (C,), low-resolution logits (C, h, w): SAM's
            whole square turned with the image, padding included.

        Raises:
            RuntimeError: before ``set_image``.
            InputError: if a prompt is off.
        """
        self._require_image()
        points = labels = boxes = mask_inputs = None
        if point_coords is not None:
            points = _checked("point_coords", point_coords, (-1, 2))[None]
            if point_labels is None:
                raise InputError("point_labels is missing; expected one label per point")
            labels = _checked("point_labels", point_labels, (points.shape[1],))[None]
        elif point_labels is not None:
            raise InputError("point_labels is given without point_coords; give both or neither")
        if box is not None:
            boxes = _checked("box", np.reshape(box, -1), (4,))[None]
        if mask_input is not None:
            logits = _checked("mask_input", mask_input, (1, -1, -1)).astype(np.float32)
            mask_inputs = torch.from_numpy(logits)[None]
        result = self.predict_prompts(
            Prompts(boxes, points, labels, mask_inputs),
            multimask_output=multimask_output,
            return_logits=return_logits,
        )
        masks, scores, low_res_logits = (
            np.ascontiguousarray(part[0].cpu().numpy())
            for part in (result.masks, result.scores, result.low_res_logits)
        )
        return masks, scores, low_res_logits

    def predict_prompts(
        self, prompts: Prompts, *, multimask_output: bool = False, return_logits: bool = False
    ) -> Segmentation:
        """Segment B prompts at once; prompts and result are in the user's frame.

        Raises:
            RuntimeError: before ``set_image``.
        """
        current = self._require_image()
        frame = current.frame
        boxes, points, masks = prompts.boxes_xyxy, prompts.point_coords, prompts.mask_inputs
        if frame.pose != 0 or frame.snapped:
            boxes = None if boxes is None else frame.canonical_boxes(boxes)
            points = None if points is None else frame.canonical_points(points)
            masks = None if masks is None else frame.canonical_planes(masks)
        result = self.segmenter.decode(
            current.encoding,
            Prompts(boxes, points, prompts.point_labels, masks),
            multimask_output=multimask_output,
            return_logits=return_logits,
        )
        return Segmentation(
            masks=frame.user_planes(result.masks),
            scores=result.scores,
            low_res_logits=frame.user_planes(result.low_res_logits),
        )

    def get_image_embedding(self) -> Tensor:
        """The embedding of the current image, (1, C, h, w), in the canonical frame.

        Raises:
            RuntimeError: before ``set_image``.
        """
        features: Tensor = self._require_image().encoding.features
        return features

    @property
    def pose(self) -> int:
        """The group element k of the current image; RuntimeError before ``set_image``."""
        return self._require_image().frame.pose

    @property
    def pose_probabilities(self) -> np.ndarray:
        """(4,) float64; one-hot where the pose was given. RuntimeError before ``set_image``."""
        current = self._require_image()
        if current.probabilities is None:
            return np.eye(C4.order)[current.frame.pose]
        return current.probabilities

    @property
    def device(self) -> torch.device:
        """Where the segmenter runs."""
        return self.segmenter.device

    def reset_image(self) -> None:
        """Forget the current image."""
        self._current = None

    def _predict_pose(self, image: np.ndarray) -> PosePrediction:
        if self.canonicalizer is None:
            return PosePrediction(0, np.eye(C4.order)[0])
        return self.canonicalizer.predict(image)

    def _require_image(self) -> _CurrentImage:
        if self._current is None:
            raise RuntimeError("no image is set: call set_image(image) before prediction")
        return self._current


def canonicalized(detector: Detector, canonicalizer: Canonicalizer | str | Path = "c4") -> Detector:
    """Make a detector robust: it runs in the canonical frame, its boxes are turned back.

    Args:
        detector: contiguous (H, W, 3) uint8 RGB -> ``samrot.Detections``.
        canonicalizer: a ``Canonicalizer``, or a name or path for ``samrot.load_canonicalizer``.

    Returns:
        Again such a callable.
    """
    judge = (
        load_canonicalizer(canonicalizer)
        if isinstance(canonicalizer, str | Path)
        else canonicalizer
    )

    def detect(image: np.ndarray) -> Detections:
        check_image(image)
        return detect_in_frame(detector, image, judge.pose(image))

    return detect


def detect_in_frame(detector: Detector, image: np.ndarray, pose: int) -> Detections:
    """Run a detector on an image turned back by a known pose.

    Returns:
        Detections in the frame of the image.

    Raises:
        InputError: if the detector returns anything but ``Detections``.
    """
    frame = CanonicalFrame(pose, (image.shape[0], image.shape[1]), snapped=False)
    found = detector(frame.canonical_image(image))
    if not isinstance(found, Detections):
        raise InputError(
            f"the detector returned a {type(found).__name__}; expected samrot.Detections("
            "boxes_xyxy, scores, category_ids)"
        )
    return Detections(frame.user_boxes(found.boxes_xyxy), found.scores, found.category_ids)


def _checked(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``value`` as float64 after checking shape (-1 fits any length) and finiteness."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers ({error})") from error
    fits = array.ndim == len(shape) and all(
        wanted in (-1, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        shown = ", ".join("N" if wanted == -1 else str(wanted) for wanted in shape)
        raise InputError(f"{name} has shape {array.shape}; expected ({shown})")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinity; expected finite numbers")
    return array
