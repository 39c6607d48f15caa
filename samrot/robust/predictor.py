"""The user's object: ``SamPredictor``, robust to how the photo is turned."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from segment_anything.modeling import Sam
from torch import Tensor

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError, NoImageError, check_choice, check_count
from samrot.geometry.groups import C4, D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, as_pose
from samrot.robust.orbit import choose, find_frames, find_source
from samrot.robust.pipeline import (
    PROMPTS_PER_BATCH,
    TILT_POLICIES,
    CanonicalImage,
    Pipeline,
    find_frame,
    gather,
)
from samrot.robust.pose_sources import (
    GivenPose,
    OrbitSource,
)
from samrot.robust.user_prompts import batch_prompts, checked_points
from samrot.runtime.devices import find_device
from samrot.segmenters import Movable, SamSegmenter, Segmenter
from samrot.structures.image import check_image
from samrot.structures.prompts import Prompts, check_prompts, checked_array
from samrot.structures.segmentation import Segmentation

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
Tensors = tuple[Tensor, Tensor, Tensor]


class RobustPredictor:
    """A drop-in for ``segment_anything.SamPredictor`` that does not mind how the photo is turned.

    Everything that goes in or comes out is in the frame of the image that the user gave; the one
    exception is the image embedding, which is that of the canonical image. Where a tilt is undone
    (``tilt="full"``), mask inputs and low-resolution logits are canonical too.

    Args:
        segmenter: what ``samrot.load_segmenter`` gives, or a ``segment_anything`` Sam model.
        canonicalizer: a ``Canonicalizer``, a name or path for ``samrot.load_canonicalizer``, or
            None for the plain segmenter through the same code.
        tilt: ``quarter`` undoes quarter turns and mirrors, ``full`` a tilt too, by one warp;
            ``auto`` is ``quarter``, since boxes that a user draws around a tilted object fit it
            better than what a warp makes of them.
        pose_source: what estimates the pose: ``canonicalizer``; ``confidence``, the segmenter's
            predicted IoU over all turns; or ``hybrid``, the canonicalizer where it is sure, and
            both where it is not. The latter two decide at the first ``predict``; ``pose`` raises
            until then.
        prompts_per_batch: prompts decoded at once, which bounds memory.

    Raises:
        InputError: if an argument is off, or the segmenter predicts no IoU to decide by.
    """

    def __init__(
        self,
        segmenter: Segmenter | Sam,
        canonicalizer: Canonicalizer | str | Path | None = "c4",
        *,
        tilt: str = "auto",
        pose_source: str = "canonicalizer",
        prompts_per_batch: int = PROMPTS_PER_BATCH,
    ) -> None:
        check_choice("tilt", tilt, TILT_POLICIES)
        if not isinstance(segmenter, Sam) and not hasattr(segmenter, "decode"):
            raise InputError(
                f"segmenter is a {type(segmenter).__name__}; expected what samrot.load_segmenter "
                "returns, or a segment_anything Sam model"
            )
        segmenter = SamSegmenter(segmenter) if isinstance(segmenter, Sam) else segmenter
        self.pipeline = Pipeline(segmenter, prompts_per_batch=prompts_per_batch)
        self.canonicalizer = as_canonicalizer(canonicalizer, str(segmenter.device))
        self.tilt = "full" if tilt == "full" else "quarter"
        self.pose_source = find_source(pose_source, segmenter, self.canonicalizer)
        self._current: CanonicalImage | None = None
        self._undecided: list[tuple[CanonicalImage, float]] = []  # with log weights

    def set_image(
        self, image: np.ndarray, image_format: str = "RGB", *, pose: Pose | int | None = None
    ) -> None:
        """Canonicalize and encode an image; ``predict`` then refers to it.

        Args:
            image: (H, W, 3) uint8.
            image_format: ``RGB`` or ``BGR``.
            pose: the image's pose if it is known, 0..7 or a ``samrot.Pose``; None estimates it.

        Raises:
            InputError: if an argument is off; the image set before stays.
        """
        check_image(image)
        check_choice("image_format", image_format, ("RGB", "BGR"))
        if image_format == "BGR":
            image = np.ascontiguousarray(image[..., ::-1])
        source = self.pose_source if pose is None else GivenPose(as_pose(pose))
        frames = find_frames(image, source, tilt=self.tilt)
        encoded = self.pipeline.encode([image] * len(frames), [found.frame for found in frames])
        weights = [found.log_weight for found in frames]
        self._undecided = list(zip(encoded, weights, strict=True))
        self._current = encoded[0] if len(encoded) == 1 else None

    def set_torch_image(
        self,
        transformed_image: Tensor,
        original_image_size: tuple[int, ...],
        *,
        pose: Pose | int | None = None,
    ) -> None:
        """As ``SamPredictor.set_torch_image``, for an image that was resized already.

        Args:
            transformed_image: (1, 3, H, W) RGB, 0..255, resized by ``transform``.
            original_image_size: (height, width) before that.
            pose: the image's pose if it is known, 0..7 or a ``samrot.Pose``; None estimates it.

        Raises:
            InputError: if an argument is off, or the segmenter is no ``segment_anything`` model;
                the image set before stays.
        """
        sam = self._sam("set_torch_image")
        side = sam.transform.target_length
        if not isinstance(transformed_image, Tensor):
            raise InputError(
                f"transformed_image is a {type(transformed_image).__name__}; expected a tensor"
            )
        shape = tuple(transformed_image.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != side:
            raise InputError(
                f"transformed_image has shape {shape}; expected (1, 3, H, W) with the longer side "
                f"{side}: resize by predictor.transform.apply_image"
            )
        try:
            height, width = original_image_size
            size_hw = (operator.index(height), operator.index(width))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"original_image_size is {original_image_size!r}; expected (height, width)"
            ) from error
        if min(size_hw) < 1 or sam.transform.get_preprocess_shape(*size_hw, side) != shape[2:]:
            raise InputError(
                f"original_image_size is {size_hw}, but transformed_image is {shape[2:]}; "
                "expected (height, width) before the resize"
            )
        pixels = transformed_image.detach().float()
        if not torch.isfinite(pixels).all():
            raise InputError("transformed_image holds NaN or infinity; expected pixels 0..255")
        thumbnail_source = pixels[0].round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        source = self.pose_source if pose is None else GivenPose(as_pose(pose))
        if isinstance(source, OrbitSource):
            raise InputError(
                "set_torch_image takes the pose from the canonicalizer alone; use set_image, or "
                "pose_source canonicalizer"
            )
        shown = np.ascontiguousarray(thumbnail_source)
        frame = find_frame(shown, source, size_hw=size_hw, tilt=self.tilt)
        if frame.asks_logits:
            raise InputError(
                "set_torch_image takes no tilt, since the image is resized already; use set_image"
            )
        resized_hw = (shape[2], shape[3])
        moved = PlaneTransform.to_canonical(Pose(frame.pose.element), resized_hw).logits(pixels)
        encoding = sam.encode_resized(moved, frame.transform.target_hw)
        self._current, self._undecided = CanonicalImage(frame, encoding), []

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Arrays:
        """Segment what the prompts point at, as ``SamPredictor.predict``.

        Args:
            point_coords: (N, 2), (x, y) in pixels.
            point_labels: (N,), 1 foreground, 0 background, -1 unused.
            box: (4,), XYXY in pixels.
            mask_input: (1, h, w), the low-resolution logits of an earlier call.
            multimask_output: three candidates instead of one.
            return_logits: logits instead of a binary mask.

        Returns:
            Masks (C, H, W) bool or float32, scores (C,), low-resolution logits (C, h, w): SAM's
            whole square turned with the image, padding included.

        Raises:
            NoImageError: before ``set_image``.
            InputError: if a prompt is off.
        """
        size_hw = self.original_size
        boxes = mask_inputs = None
        points, labels = checked_points(point_coords, point_labels, (-1, 2))
        if box is not None:
            if isinstance(box, np.ndarray) and box.shape == (1, 4):  # SamPredictor takes it too
                box = box[0]
            boxes = checked_array("box", box, (4,))[None]
        if mask_input is not None:
            logits = checked_array("mask_input", mask_input, (1, -1, -1)).astype(np.float32)
            mask_inputs = torch.from_numpy(logits)[None]
        if points is not None and labels is not None:
            points, labels = points[None], labels[None]
        prompts = Prompts(boxes, points, labels, mask_inputs)
        check_prompts(prompts, size_hw)
        result = self.predict_prompts(
            prompts, multimask_output=multimask_output, return_logits=return_logits
        )
        return _arrays(result.masks[0], result.scores[0], result.low_res_logits[0])

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Tensors:
        """Segment B prompts at once, as ``SamPredictor.predict_torch``.

        Args:
            point_coords: (B, N, 2), in pixels of the resized image (``transform.apply_coords``).
            point_labels: (B, N).
            boxes: (B, 4), in pixels of the resized image (``transform.apply_boxes``).
            mask_input: (B, 1, h, w).
            multimask_output: three candidates instead of one.
            return_logits: logits instead of binary masks.

        Returns:
            Masks (B, C, H, W), scores (B, C), low-resolution logits (B, C, h, w), on the device.

        Raises:
            NoImageError: before ``set_image`` or ``set_torch_image``.
            InputError: if a prompt is off, or the segmenter is no ``segment_anything`` model.
        """
        sam = self._sam("predict_torch")
        size_hw = self.original_size
        resized = sam.transform.get_preprocess_shape(*size_hw, sam.transform.target_length)
        scale_xy = np.array([resized[1] / size_hw[1], resized[0] / size_hw[0]])
        points, labels = checked_points(point_coords, point_labels, (-1, -1, 2))
        boxes_xyxy = None
        if points is not None:
            points = points / scale_xy
        if boxes is not None:
            boxes_xyxy = checked_array("boxes", boxes, (-1, 4)) / np.tile(scale_xy, 2)
        if mask_input is not None:
            mask_input = torch.from_numpy(checked_array("mask_input", mask_input, (-1, 1, -1, -1)))
            mask_input = mask_input.float()
        prompts = Prompts(boxes_xyxy, points, labels, mask_input)
        check_prompts(prompts, size_hw)
        result = self.predict_prompts(
            prompts, multimask_output=multimask_output, return_logits=return_logits
        )
        return result.masks, result.scores, result.low_res_logits

    def predict_batch(
        self,
        images: Sequence[np.ndarray],
        boxes: Sequence[ArrayLike] | None = None,
        *,
        point_coords: Sequence[ArrayLike] | None = None,
        point_labels: Sequence[ArrayLike] | None = None,
        multimask_output: bool = False,
        return_logits: bool = False,
        images_per_batch: int = 1,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Arrays]:
        """Segment the objects of several images; the image that is set stays set.

        Args:
            images: each (H, W, 3) uint8 RGB, of any sizes.
            boxes: boxes of each image, (N, 4), XYXY in pixels; N may differ and may be 0.
            point_coords: clicks of each image, (N, P, 2), P of them on each object; with boxes the
                two are of the same objects.
            point_labels: labels of the clicks of each image, (N, P): 1 foreground, 0 background, -1
                unused.
            multimask_output: three candidates per object instead of one.
            return_logits: logits instead of binary masks.
            images_per_batch: images encoded at once: more are faster on a GPU, with the same
                results to rounding; with 1 they are those of ``set_image`` and ``predict_prompts``
                to the bit.
            progress: called after each batch with the number of images done and of all.

        Returns:
            For each image masks (N, C, H, W), scores (N, C), low-resolution logits (N, C, h, w).

        Raises:
            InputError: if an argument is off, before any work; or if a photo cannot be encoded.
        """
        check_count("images_per_batch", images_per_batch, 1)
        images, all_prompts = batch_prompts(images, boxes, point_coords, point_labels)
        results = []
        for start in range(0, len(images), images_per_batch):
            batch = slice(start, start + images_per_batch)
            found = [find_frames(i, self.pose_source, tilt=self.tilt) for i in images[batch]]
            pairs = [
                (image, frame)
                for image, frames in zip(images[batch], found, strict=True)
                for frame, _ in frames
            ]
            encoded = iter(self.pipeline.encode(*map(list, zip(*pairs, strict=True))))
            for frames, prompts in zip(found, all_prompts[batch], strict=True):
                weighted = [(next(encoded), log_weight) for _, log_weight in frames]
                canonical = choose(self.pipeline, weighted, prompts, multimask=multimask_output)
                segmentation = self.pipeline.decode(
                    canonical,
                    prompts,
                    multimask_output=multimask_output,
                    return_logits=return_logits,
                )
                results.append(
                    _arrays(segmentation.masks, segmentation.scores, segmentation.low_res_logits)
                )
            if progress is not None:
                progress(len(results), len(images))
        return results

    def predict_prompts(
        self, prompts: Prompts, *, multimask_output: bool = False, return_logits: bool = False
    ) -> Segmentation:
        """Segment B prompts; prompts and result are in the user's frame. B may be 0.

        Raises:
            NoImageError: before ``set_image``.
        """
        return self.pipeline.decode(
            self._decide(prompts, multimask_output),
            prompts,
            multimask_output=multimask_output,
            return_logits=return_logits,
        )

    def best_masks(
        self, prompts: Prompts, *, multimask: bool = False, refine: int = 0
    ) -> Segmentation:
        """One mask for each of B prompts, C = 1, as ``Pipeline.best_masks`` but all at once.

        Raises:
            NoImageError: before ``set_image``.
        """
        batches = self.pipeline.best_masks(
            self._decide(prompts, multimask), prompts, multimask=multimask, refine=refine
        )
        return gather(batches, len(prompts))

    @property
    def segmenter(self) -> Segmenter:
        """What segments."""
        return self.pipeline.segmenter

    def get_image_embedding(self) -> Tensor:
        """The embedding of the current image, (1, C, h, w), in the canonical frame.

        Raises:
            NoImageError: before ``set_image``.
        """
        features = self._require_image().encoding.features
        if not isinstance(features, Tensor):
            raise InputError(f"{self.segmenter.name} has no image embedding of a single tensor")
        return features

    @property
    def features(self) -> Tensor | None:
        """The embedding of the current image, as ``SamPredictor.features``; None without one."""
        return None if self._current is None else self.get_image_embedding()

    @property
    def is_image_set(self) -> bool:
        """Whether ``predict`` may be called."""
        return self._current is not None or bool(self._undecided)

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of the current image, in the user's frame."""
        image = self._undecided[0][0] if self._undecided else self._require_image()
        return image.frame.transform.source_hw

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the current image after ``transform``, in the user's frame."""
        transform = self.transform
        height, width = transform.get_preprocess_shape(*self.original_size, transform.target_length)
        return height, width

    @property
    def model(self) -> Sam:
        """The ``segment_anything`` model; InputError where the segmenter is none."""
        return self._sam("model").sam

    @property
    def transform(self) -> Any:
        """Its ``ResizeLongestSide``; InputError where the segmenter is none."""
        return self._sam("transform").transform

    @property
    def current_pose(self) -> Pose:
        """The pose of the current image, all of it; NoImageError before ``set_image``."""
        return self._require_image().frame.pose

    @property
    def pose(self) -> int:
        """The element of D4 that moved the current image; NoImageError before ``set_image``."""
        return self.current_pose.element

    @property
    def tilt_deg(self) -> float:
        """The tilt of the current image, degrees, undone or not; as ``pose``."""
        return self.current_pose.tilt_deg

    @property
    def pose_confidence(self) -> float:
        """The probability of the pose, 1 where it was given; as ``pose``."""
        return self.current_pose.confidence

    @property
    def pose_probabilities(self) -> np.ndarray:
        """(|G|,) float64; one-hot where the pose was given. NoImageError before ``set_image``."""
        pose = self.current_pose
        if pose.probabilities is not None:
            return pose.probabilities
        group = C4 if self.canonicalizer is None else self.canonicalizer.group
        return np.eye(group.order if pose.element < group.order else D4.order)[pose.element]

    @property
    def device(self) -> torch.device:
        """Where the segmenter runs."""
        return self.segmenter.device

    def to(self, device: str) -> RobustPredictor:
        """Run elsewhere; the current image is forgotten.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``auto``.

        Returns:
            Itself.

        Raises:
            InputError: if this machine has no such device, or the segmenter runs on CPUs only.
        """
        device = find_device(device)
        if isinstance(self.segmenter, Movable):
            self.segmenter.to(device)
        elif device != "cpu":
            raise InputError(f"device is {device!r}, but {self.segmenter.name} runs on cpu only")
        if self.canonicalizer is not None:
            self.canonicalizer.to(device)
        self.reset_image()
        return self

    def reset_image(self) -> None:
        """Forget the current image."""
        self._current, self._undecided = None, []

    def _decide(self, prompts: Prompts, multimask: bool) -> CanonicalImage:
        """The current image, in the pose that the segmenter is surest of at its first prompts."""
        if self._current is None and self._undecided:
            weighted = self._undecided
            self._current = choose(self.pipeline, weighted, prompts, multimask=multimask)
            self._undecided = []
        return self._require_image()

    def _require_image(self) -> CanonicalImage:
        if self._current is None:
            raise NoImageError(
                "the pose is not decided: pose_source decides at the first predict"
                if self._undecided
                else "no image is set: call set_image(image) before prediction"
            )
        return self._current

    def _sam(self, asked: str) -> SamSegmenter:
        if not isinstance(self.segmenter, SamSegmenter):
            raise InputError(
                f"{asked} needs a segment_anything model, but the segmenter is "
                f"{self.segmenter.name}; use set_image and predict, or predict_batch"
            )
        return self.segmenter


def _arrays(*parts: Tensor) -> Arrays:
    masks, scores, low_res_logits = (np.ascontiguousarray(part.cpu().numpy()) for part in parts)
    return masks, scores, low_res_logits
