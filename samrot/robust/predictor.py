"""The user's object: ``SamPredictor``, robust to how the photo is turned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from segment_anything.modeling import Sam
from torch import Tensor

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError, check_choice, check_count
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, as_pose
from samrot.robust.frames import TILT_POLICIES, find_frame
from samrot.robust.image_state import ImageState, refusal
from samrot.robust.object_frames import decode_each, encode_objects
from samrot.robust.orbit import choose, find_frames, find_source
from samrot.robust.pipeline import (
    PROMPTS_PER_BATCH,
    CanonicalImage,
    Pipeline,
    gather,
)
from samrot.robust.pose_sources import GivenPose, OrbitSource, PoseSource
from samrot.robust.user_prompts import (
    batch_prompts,
    checked_points,
    checked_resized,
    user_prompt,
)
from samrot.runtime.devices import find_device
from samrot.segmenters import Movable, SamSegmenter, Segmenter, as_segmenter, check_memory
from samrot.structures.image import check_image
from samrot.structures.prompts import Prompts, check_prompts, checked_array
from samrot.structures.segmentation import Segmentation

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
Tensors = tuple[Tensor, Tensor, Tensor]


class RobustPredictor(ImageState):
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
        pose_prior: probability of each pose among the photos that arrive, by element of the
            canonicalizer's group, as ``[0.94, 0.02, 0.02, 0.02]`` where most are upright; it is
            combined with the canonicalizer's evidence by Bayes, and the masks of a photo and of its
            turned copy may then differ. None takes all poses to be alike.
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
        pose_prior: Sequence[float] | None = None,
        prompts_per_batch: int = PROMPTS_PER_BATCH,
    ) -> None:
        check_choice("tilt", tilt, TILT_POLICIES)
        segmenter = as_segmenter(segmenter)
        self.pipeline = Pipeline(segmenter, prompts_per_batch=prompts_per_batch)
        self.canonicalizer = as_canonicalizer(canonicalizer, str(segmenter.device))
        self.tilt = "full" if tilt == "full" else "quarter"
        self.pose_source = find_source(pose_source, segmenter, self.canonicalizer, pose_prior)
        super().__init__(self.pipeline.segmenter, self.canonicalizer)

    def set_image(
        self, image: np.ndarray, image_format: str = "RGB", *, pose: Pose | int | None = None
    ) -> None:
        """Canonicalize and encode an image; ``predict`` then refers to it.

        Args:
            image: (H, W, 3) uint8.
            image_format: ``RGB`` or ``BGR``.
            pose: the image's pose if it is known, 0..7 or a ``samrot.Pose``; None estimates it.
                What a canonicalizer said, as ``estimate_many`` of a burst, counts as estimated.

        Raises:
            InputError: if an argument is off; the image set before stays.
        """
        check_image(image)
        check_choice("image_format", image_format, ("RGB", "BGR"))
        if image_format == "BGR":
            image = np.ascontiguousarray(image[..., ::-1])
        source = self._source(pose)
        frames = find_frames(image, source, tilt=self.tilt)
        encoded = self.pipeline.encode([image] * len(frames), [found.frame for found in frames])
        self._set_frames(encoded, [found.log_weight for found in frames], image)

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
        pixels, size_hw = checked_resized(transformed_image, original_image_size, sam.transform)
        thumbnail_source = pixels[0].round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        source = self._source(pose)
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
        resized_hw = (pixels.shape[2], pixels.shape[3])
        moved = PlaneTransform.to_canonical(Pose(frame.pose.element), resized_hw).logits(pixels)
        encoding = sam.encode_resized(moved, frame.transform.target_hw)
        self._set_frames([CanonicalImage(frame, encoding)], [0.0], None)

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        rotated_box: ArrayLike | None = None,
    ) -> Arrays:
        """Segment what the prompts point at, as ``SamPredictor.predict``.

        Args:
            point_coords: (N, 2), (x, y) in pixels.
            point_labels: (N,), 1 foreground, 0 background, -1 unused.
            box: (4,), XYXY in pixels.
            mask_input: (1, h, w), the low-resolution logits of an earlier call.
            multimask_output: three candidates instead of one.
            return_logits: logits instead of a binary mask.
            rotated_box: (5,), instead of box: (cx, cy, w, h, angle_deg), a box of that width and
                height about a centre, turned counter-clockwise; pixels and degrees. The image is
                encoded again where the box is not upright in it: give boxes of many objects
                together, by ``predict_prompts`` or ``predict_batch``, which share what they can.

        Returns:
            Masks (C, H, W) bool or float32, scores (C,), low-resolution logits (C, h, w): SAM's
            whole square turned with the image, padding included; of a rotated box for which the
            image was tilted, those of the tilted image.

        Raises:
            NoImageError: before ``set_image``.
            InputError: if a prompt is off.
        """
        prompts = user_prompt(
            point_coords, point_labels, box, mask_input, rotated_box, size_hw=self.original_size
        )
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
        boxes_xyxy = None if boxes is None else checked_array("boxes", boxes, (-1, 4))
        if mask_input is not None:
            mask_input = torch.from_numpy(checked_array("mask_input", mask_input, (-1, 1, -1, -1)))
            mask_input = mask_input.float()
        given = Prompts(boxes_xyxy, points, labels, mask_input)
        check_prompts(
            given,
            resized,
            f"the image was {size_hw[1]} x {size_hw[0]} and was resized: move prompts along by "
            "predictor.transform.apply_boxes_torch and apply_coords_torch",
        )
        prompts = replace(
            given,
            boxes_xyxy=None if boxes_xyxy is None else boxes_xyxy / np.tile(scale_xy, 2),
            point_coords=None if points is None else points / scale_xy,
        )
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
        rotated_boxes: Sequence[ArrayLike] | None = None,
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
            rotated_boxes: instead of boxes, those of each image, (N, 5), as in ``predict``.
            images_per_batch: images encoded at once: more are faster on a GPU, with the same
                results to rounding; with 1 they are those of ``set_image`` and ``predict_prompts``
                to the bit.
            progress: called after each batch with the number of images done and of all.

        Returns:
            For each image masks (N, C, H, W), scores (N, C), low-resolution logits (N, C, h, w).

        Raises:
            InputError: if an argument is off, before any work; or if a photo cannot be encoded, or
                so many at once not.
        """
        check_count("images_per_batch", images_per_batch, 1)
        images, all_prompts = batch_prompts(
            images, boxes, point_coords, point_labels, rotated_boxes
        )
        decode = partial(
            self.pipeline.decode, multimask_output=multimask_output, return_logits=return_logits
        )
        results = []
        for start in range(0, len(images), images_per_batch):
            batch = slice(start, start + images_per_batch)
            found = [find_frames(i, self.pose_source, tilt=self.tilt) for i in images[batch]]
            pairs = [
                (image, frame)
                for image, frames in zip(images[batch], found, strict=True)
                for frame, _ in frames
            ]
            check_memory(self.segmenter, [image for image, _ in pairs], images_per_batch)
            encoded = iter(self.pipeline.encode(*map(list, zip(*pairs, strict=True))))
            for image, frames, prompts in zip(
                images[batch], found, all_prompts[batch], strict=True
            ):
                weighted = [(next(encoded), log_weight) for _, log_weight in frames]
                chosen = choose(self.pipeline, weighted, prompts, multimask=multimask_output)
                parts = encode_objects(self.pipeline, image, chosen, prompts.rotated_boxes, {})
                segmentation = decode_each(parts, prompts, decode)
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
        image = self._decide(self.pipeline, prompts, multimask=multimask_output)
        decode = partial(
            self.pipeline.decode, multimask_output=multimask_output, return_logits=return_logits
        )
        parts = self._encode_objects(self.pipeline, image, prompts.rotated_boxes)
        return decode_each(parts, prompts, decode)

    def best_masks(
        self, prompts: Prompts, *, multimask: bool = False, refine: int = 0
    ) -> Segmentation:
        """One mask for each of B prompts, C = 1, as ``Pipeline.best_masks`` but all at once.

        Raises:
            NoImageError: before ``set_image``.
        """

        def decode(image: CanonicalImage, some: Prompts) -> Segmentation:
            batches = self.pipeline.best_masks(image, some, multimask=multimask, refine=refine)
            return gather(batches, len(some))

        image = self._decide(self.pipeline, prompts, multimask=multimask)
        parts = self._encode_objects(self.pipeline, image, prompts.rotated_boxes)
        return decode_each(parts, prompts, decode)

    def best_masks_each(
        self, objects: Sequence[Prompts], *, multimask: bool = False, refine: int = 0
    ) -> Iterator[Segmentation]:
        """One mask for each object, B = C = 1, as ``Pipeline.best_masks``: in order, one at a time.

        Args:
            objects: what points at each, B = 1, in the user's frame; their kinds may differ. Where
                the segmenter decides the pose, it does at the first.
            multimask, refine: as of ``Pipeline.best_masks``.

        Raises:
            NoImageError: before ``set_image``.
            InputError: if a prompt is off.
        """
        for prompts in objects:
            check_prompts(prompts, self.original_size)
        if not objects:
            return
        image = self._decide(self.pipeline, objects[0], multimask=multimask)
        rotated = {n: p.rotated_boxes for n, p in enumerate(objects) if p.rotated_boxes is not None}
        image_of = {}
        if rotated:
            numbers, boxes = list(rotated), np.concatenate(list(rotated.values()))
            for part in self._encode_objects(self.pipeline, image, boxes):
                image_of.update({numbers[row]: part.image for row in part.rows})
        for number, prompts in enumerate(objects):
            yield from self.pipeline.best_masks(
                image_of.get(number, image), prompts, multimask=multimask, refine=refine
            )

    @property
    def segmenter(self) -> Segmenter:
        """What segments."""
        return self.pipeline.segmenter

    def canonical_prompts(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Prompts for the canonical image, whose size is ``canonical_size``; as of ``predict``.

        Returns:
            Points (N, 2) and labels (N,), or None; box (4,), or None; pixels of that image.

        Raises:
            NoImageError: before ``set_image``.
            InputError: if a prompt is off.
        """
        prompts = user_prompt(point_coords, point_labels, box, size_hw=self.original_size)
        moved = self._image.frame.canonical_prompts(prompts)
        points, labels, boxes = moved.point_coords, moved.point_labels, moved.boxes_xyxy
        return (
            None if points is None else points[0],
            None if labels is None else labels[0],
            None if boxes is None else boxes[0],
        )

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the current image after ``transform``, in the user's frame."""
        transform = self.transform
        height, width = transform.get_preprocess_shape(*self.original_size, transform.target_length)
        return height, width

    @input_size.setter
    def input_size(self, value: object) -> None:
        raise refusal("input_size")

    @property
    def model(self) -> Sam:
        """The ``segment_anything`` model; InputError where the segmenter is none."""
        return self._sam("model").sam

    @property
    def transform(self) -> Any:
        """Its ``ResizeLongestSide``; InputError where the segmenter is none."""
        return self._sam("transform").transform

    @property
    def device(self) -> torch.device:
        """Where the segmenter runs."""
        return self.segmenter.device

    def to(self, device: str) -> RobustPredictor:
        """Run elsewhere; the current image comes along.

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
        self._move_image(device)
        return self

    def _source(self, pose: Pose | int | None) -> PoseSource | OrbitSource:
        """What says the pose of an image: a pose that is given, or what estimates them."""
        return self.pose_source if pose is None else GivenPose(as_pose(pose))

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
