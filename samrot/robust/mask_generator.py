"""Everything in a photo, segmented in the canonical frame."""

from __future__ import annotations

import warnings
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.amg import (
    calculate_stability_score,
    mask_to_rle_pytorch,
    rle_to_mask,
)
from torch import Tensor

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError, check_choice
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, as_pose
from samrot.geometry.rle import decode_mask
from samrot.robust.frames import TILT_POLICIES, CanonicalFrame, walk
from samrot.robust.pose_sources import UPRIGHT, GivenPose, PoseSource
from samrot.robust.predictor import RobustPredictor, Tensors
from samrot.segmenters import EVERYTHING_THRESHOLDS, SamSegmenter, Segmenter, as_segmenter
from samrot.structures.image import check_image
from samrot.structures.prompts import Prompts
from samrot.wording import did_you_mean


class RobustMaskGenerator:
    """A drop-in for ``segment_anything.SamAutomaticMaskGenerator`` that does not mind the turn.

    Attributes are those of the generator, and may be assigned (``pred_iou_thresh = 0.5``);
    ``predictor`` is a ``RobustPredictor`` with the same canonicalizer.

    Args:
        model: a ``segment_anything`` Sam model, or any segmenter that takes points and predicts an
            IoU, by which masks are kept.
        args, kwargs: as of ``SamAutomaticMaskGenerator``; thresholds that are left out are those of
            the segmenter, where it has its own (``EVERYTHING_THRESHOLDS``).
        canonicalizer: a ``Canonicalizer``, a name or path for ``samrot.load_canonicalizer``, or
            None for the plain generator.
        tilt: ``quarter`` undoes quarter turns and mirrors, ``full`` a tilt too, by one warp;
            ``auto`` is ``full``: no box is given that a warp would loosen.

    Raises:
        InputError: if the model predicts no IoU, or an argument is off.
    """

    def __init__(
        self,
        model: Sam | Segmenter,
        *args: Any,
        canonicalizer: Canonicalizer | str | Path | None = "c4",
        tilt: str = "auto",
        **kwargs: Any,
    ) -> None:
        check_choice("tilt", tilt, TILT_POLICIES)
        self.tilt = "quarter" if tilt == "quarter" else "full"
        segmenter = as_segmenter(model)
        if not segmenter.predicts_scores:
            raise InputError(
                f"everything keeps masks by their predicted IoU, but {segmenter.name} predicts "
                "none; use sam_mini, sam_vit_b, _l or _h, or a model of transformers"
            )
        names = list(signature(SamAutomaticMaskGenerator).parameters)[1:]
        for name in kwargs:
            if name not in names:
                known = [*names, "canonicalizer", "tilt"]
                raise InputError(
                    f"{name} is no argument of RobustMaskGenerator; expected one of "
                    f"{', '.join(known)}{did_you_mean(name, known)}"
                )
        own = EVERYTHING_THRESHOLDS.get(segmenter.name, {})
        defaults = {name: value for name, value in own.items() if name not in names[: len(args)]}
        try:
            self.generator = SamAutomaticMaskGenerator(
                _as_sam(segmenter), *args, **{**defaults, **kwargs}
            )
        except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"{error}; the arguments are those of SamAutomaticMaskGenerator"
            ) from error
        if self.generator.points_per_batch < 1:
            raise InputError(
                f"points_per_batch is {self.generator.points_per_batch}; expected at least 1"
            )
        self.generator.predictor = self._clicks = _ClickPredictor(segmenter, self.generator)
        self.canonicalizer = as_canonicalizer(canonicalizer, str(segmenter.device))
        self.predictor = RobustPredictor(segmenter, self.canonicalizer, tilt=tilt)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "generator" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.generator, name)

    def __setattr__(self, name: str, value: object) -> None:
        known = vars(self)
        if name not in known and "predictor" in known and hasattr(self.generator, name):
            setattr(self.generator, name, value)
        else:
            super().__setattr__(name, value)

    def to(self, device: str) -> RobustMaskGenerator:
        """Run elsewhere; see ``RobustPredictor.to``."""
        self.predictor.to(device)
        return self

    def generate(
        self, image: np.ndarray, *, pose: Pose | int | None = None
    ) -> list[dict[str, Any]]:
        """Segment everything in an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            pose: the image's pose if it is known, 0..7 or a ``samrot.Pose``; None estimates it.

        Returns:
            Records as of ``SamAutomaticMaskGenerator.generate``, in the frame of the image. Where a
            threshold left none, a warning names it and the best value seen.

        Raises:
            InputError: if the image is not of that layout.
        """
        check_image(image)
        source: PoseSource = self.canonicalizer or UPRIGHT
        if pose is not None:
            source = GivenPose(as_pose(pose))
        self._clicks.best_iou = self._clicks.best_stability = 0.0
        records = walk(image, source, self._generate_canonical, _user_records, tilt=self.tilt)
        if not records:
            warnings.warn(self._clicks.explanation(), stacklevel=2)
        return records

    def _generate_canonical(self, image: np.ndarray) -> list[dict[str, Any]]:
        try:
            records: list[dict[str, Any]] = self.generator.generate(image)
        except IndexError:
            # segment-anything 1.0 cannot merge crops in none of which anything was found.
            if self.generator.crop_n_layers == 0:
                raise
            return []
        return records


def _as_sam(segmenter: Segmenter) -> Any:
    """What the generator asks of a Sam: the side of its input, and where a mask begins."""
    threshold = segmenter.sam.mask_threshold if isinstance(segmenter, SamSegmenter) else 0.0
    # The side is never used: clicks stay in pixels of the photo.
    return SimpleNamespace(image_encoder=SimpleNamespace(img_size=0), mask_threshold=threshold)


class _PhotoPixels:
    """In place of ``ResizeLongestSide``: clicks stay in pixels of the photo."""

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """The coordinates as they are."""
        return coords


class _ClickPredictor:
    """What the generator calls of a ``SamPredictor``, for every segmenter that takes points.

    Behind it is samrot's code without a canonicalizer, which checks images and bounds memory; and
    it knows the best of what the thresholds judge.
    """

    def __init__(self, segmenter: Segmenter, generator: SamAutomaticMaskGenerator) -> None:
        plain = RobustPredictor(segmenter, None)
        self.predict_prompts = plain.predict_prompts
        self.set_image, self.reset_image = plain.set_image, plain.reset_image
        self.plain, self.transform = plain, _PhotoPixels()
        self.model = generator.predictor.model
        self.generator = generator
        self.best_iou = self.best_stability = 0.0

    @property
    def device(self) -> torch.device:
        """Where the segmenter runs."""
        return self.plain.device

    def predict_torch(
        self, point_coords: Tensor, point_labels: Tensor, *, multimask_output: bool,
        return_logits: bool,
    ) -> Tensors:  # fmt: skip
        """As ``SamPredictor.predict_torch``, for clicks alone, in pixels of the photo."""
        found = self.predict_prompts(
            Prompts(None, point_coords.cpu().numpy(), point_labels.cpu().numpy()),
            multimask_output=multimask_output,
            return_logits=return_logits,
        )
        logits, scores = found.masks, found.scores
        self.best_iou = max(self.best_iou, float(scores.max()))
        judged = logits[scores > self.generator.pred_iou_thresh]
        if len(judged) and self.best_stability < self.generator.stability_score_thresh:
            stability = calculate_stability_score(
                judged, self.model.mask_threshold, self.generator.stability_score_offset
            )
            self.best_stability = max(self.best_stability, float(stability.max()))
        return logits, scores, found.low_res_logits

    def explanation(self) -> str:
        """Why nothing was found."""
        name, best = "pred_iou_thresh", self.best_iou
        if best > self.generator.pred_iou_thresh:
            name, best = "stability_score_thresh", self.best_stability
        threshold = getattr(self.generator, name)
        if best >= threshold:
            return "nothing was found in the image, by the thresholds and min_mask_region_area"
        return (
            f"nothing was found in the image: {name} is {threshold:g}, but the best value of all "
            f"masks is {best:.2f}; lower {name}"
        )


def _user_records(frame: CanonicalFrame, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    back = frame.transform.inverse()
    if back.is_identity:
        return records
    moved = [move_record(record, back) for record in records]
    # What lay on the canvas beside the photo alone is nothing.
    return moved if back.is_exact else [record for record in moved if record["area"] > 0]


def move_record(record: dict[str, Any], transform: PlaneTransform) -> dict[str, Any]:
    """A record of the mask generator in another frame.

    Args:
        record: record with ``segmentation`` (mask, COCO RLE or uncompressed RLE), ``bbox``,
            ``crop_box`` and ``point_coords``; all else is kept, but for ``area`` where the mask
            is resampled.
        transform: from the record's frame.
    """
    if not transform.is_exact:
        return _move_tilted_record(record, transform)
    x, y, width, height = record["bbox"]
    # The generator's boxes end at the index of their last pixel: move the pixels' middles.
    middles = transform.points(np.array([[x, y], [x + width, y + height]]) + 0.5) - 0.5
    (left, top), (right, bottom) = middles.min(axis=0), middles.max(axis=0)
    if record["area"] == 0:
        left = top = right = bottom = 0  # as the generator has it
    x, y, width, height = record["crop_box"]
    crop = transform.boxes(np.array([x, y, x + width, y + height]))
    return {
        **record,
        "segmentation": _move_segmentation(record["segmentation"], transform),
        "bbox": [int(edge) for edge in (left, top, right - left, bottom - top)],
        "crop_box": [int(edge) for edge in (*crop[:2], *(crop[2:] - crop[:2]))],
        "point_coords": transform.points(record["point_coords"]).tolist(),
    }


def _move_tilted_record(record: dict[str, Any], transform: PlaneTransform) -> dict[str, Any]:
    """By nearest neighbour; box and area are those of the new mask."""
    segmentation = _move_segmentation(record["segmentation"], transform)
    mask = segmentation
    if not isinstance(mask, np.ndarray):
        compressed = isinstance(mask["counts"], str | bytes)
        mask = decode_mask(mask) if compressed else rle_to_mask(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0, 0, 0, 0]
    if len(rows):
        left, top = int(columns[0]), int(rows[0])
        box = [left, top, int(columns[-1]) - left, int(rows[-1]) - top]
    x, y, width, height = record["crop_box"]
    crop = transform.boxes(np.array([x, y, x + width, y + height]), "hull")
    limits = np.tile(transform.target_hw[::-1], 2)
    x0, y0, x1, y1 = np.rint(np.clip(crop, 0, limits)).astype(int).tolist()
    return {
        **record,
        "segmentation": segmentation,
        "area": int(mask.sum()),
        "bbox": box,
        "crop_box": [x0, y0, x1 - x0, y1 - y0],
        "point_coords": transform.points(record["point_coords"]).tolist(),
    }


def _move_segmentation(segmentation: Any, transform: PlaneTransform) -> Any:
    if isinstance(segmentation, np.ndarray):
        return transform.masks(segmentation)
    if isinstance(segmentation["counts"], list):
        mask = transform.masks(rle_to_mask(segmentation))
        return mask_to_rle_pytorch(torch.from_numpy(mask)[None])[0]
    return transform.rle(segmentation)
