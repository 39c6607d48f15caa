"""Where the prompts of an evaluation come from: ground truth, detections on file, or a detector."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from samrot.data.coco import CocoDataset, read_json
from samrot.errors import InputError, check_choice
from samrot.geometry import actions
from samrot.geometry.groups import C4
from samrot.robust_detector import Detector, detect_in_frame
from samrot.types import Detections

SOURCES = ("gt", "detections", "detector")


@dataclass(kw_only=True)
class PromptSettings:
    """Boxes to prompt with.

    Args:
        source: gt (ground-truth boxes), detections (JSON on disk) or detector (run live).
        file: COCO-results JSON made on the upright images, whose boxes are turned along; or angle
            -> JSON made on the images turned by it, boxes in the turned frame.
        detector: module:callable, image -> samrot.Detections; or torchvision:maskrcnn.
        min_score: detections below it are dropped.
        max_per_image: most confident detections kept per image.
    """

    source: str = "gt"
    file: str | dict[int, str] | None = None
    detector: str | None = None
    min_score: float = 0.0
    max_per_image: int = 100

    def __post_init__(self) -> None:
        check_choice("prompts.source", self.source, SOURCES)


@dataclass(frozen=True)
class PromptBoxes:
    """Boxes for one image.

    Args:
        boxes_xyxy: (N, 4) float64, in the frame of the image as it is given to the method.
        category_ids: (N,) int.
        scores: (N,) float, of the detector; None for ground truth.
        instance_ids: (N,) the same instance has the same id at every angle; None if unknown.
        masks: (N, H, W) bool, of a detector that segments too.
    """

    boxes_xyxy: np.ndarray
    category_ids: np.ndarray
    scores: np.ndarray | None
    instance_ids: np.ndarray | None
    masks: np.ndarray | None = None


class PromptSource(Protocol):
    """Boxes for an image at an angle."""

    description: str

    def boxes(self, image_id: int, turned: np.ndarray, turns: int, pose: int) -> PromptBoxes:
        """The boxes for one image.

        Args:
            image_id: of the dataset.
            turned: the image, turned by ``turns``.
            turns: quarter turns from upright.
            pose: what the method takes the pose to be; it works on ``turned`` turned back by it.
        """
        ...


class GroundTruthBoxes:
    """The annotations' own boxes, turned with the image; crowds and zero areas left out."""

    description = "ground-truth boxes"

    def __init__(self, dataset: CocoDataset) -> None:
        self.dataset = dataset

    def boxes(self, image_id: int, turned: np.ndarray, turns: int, pose: int) -> PromptBoxes:
        """See ``PromptSource``."""
        instances = self.dataset.instances(image_id)
        upright = xywh_to_xyxy([instance["bbox"] for instance in instances])
        return PromptBoxes(
            actions.rotate_boxes(upright, turns, self.dataset.size_hw(image_id)),
            np.array([instance["category_id"] for instance in instances], dtype=np.int64),
            None,
            np.array([instance["id"] for instance in instances], dtype=np.int64),
        )


class DetectionFiles:
    """Detections on file, for some of the four turns of the images.

    With the upright file alone its boxes are turned along. With all four, the file that counts is
    that of the residual angle, which is what the detector would see under the method.
    """

    def __init__(
        self, dataset: CocoDataset, files: dict[int, str] | str, settings: PromptSettings
    ) -> None:
        self.dataset = dataset
        self.turned_along = isinstance(files, str)
        self.description = (
            "detections on the upright images, turned along"
            if isinstance(files, str)
            else "detections on each turn of the images"
        )
        by_angle = {0: files} if isinstance(files, str) else files
        self.by_turns = {
            angle // 90: read_detections(path, dataset, settings)
            for angle, path in by_angle.items()
        }

    def boxes(self, image_id: int, turned: np.ndarray, turns: int, pose: int) -> PromptBoxes:
        """See ``PromptSource``."""
        upright_hw = self.dataset.size_hw(image_id)
        seen = 0 if self.turned_along else C4.compose(turns, C4.inverse(pose))
        found = self.by_turns[seen].get(image_id)
        if found is None:
            found = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
        missing_turns = turns - seen
        boxes = actions.rotate_boxes(
            found.boxes_xyxy, missing_turns, actions.rotate_size(upright_hw, seen)
        )
        ids = np.arange(len(found)) if self.turned_along else None
        return PromptBoxes(boxes, found.category_ids, found.scores, ids)


class LiveDetector:
    """A detector that sees what the method sees: the image turned back by the method's pose."""

    def __init__(self, detector: Detector, name: str, settings: PromptSettings) -> None:
        self.detector = detector
        self.settings = settings
        self.description = f"detector {name}"

    def boxes(self, image_id: int, turned: np.ndarray, turns: int, pose: int) -> PromptBoxes:
        """See ``PromptSource``."""
        found = _strongest(detect_in_frame(self.detector, turned, pose), self.settings)
        return PromptBoxes(found.boxes_xyxy, found.category_ids, found.scores, None, found.masks)


def build_prompt_source(
    settings: PromptSettings, dataset: CocoDataset, angles: list[int], device: str
) -> PromptSource:
    """The source that the settings ask for.

    Raises:
        InputError: if a setting that the source needs is missing, or one that it ignores is given.
    """
    if settings.source != "detections" and settings.file is not None:
        raise InputError(
            f"prompts.file is given, but prompts.source is {settings.source!r}; "
            "set prompts.source to detections"
        )
    if settings.source != "detector" and settings.detector is not None:
        raise InputError(
            f"prompts.detector is given, but prompts.source is {settings.source!r}; "
            "set prompts.source to detector"
        )
    if settings.source == "gt":
        return GroundTruthBoxes(dataset)
    if settings.source == "detections":
        if settings.file is None:
            raise InputError("prompts.file is not set; expected a COCO-results JSON, or four")
        if isinstance(settings.file, dict) and set(settings.file) != {0, 90, 180, 270}:
            raise InputError(
                f"prompts.file names angles {sorted(settings.file)}; expected 0, 90, 180 and 270"
            )
        return DetectionFiles(dataset, settings.file, settings)
    if settings.detector is None:
        raise InputError("prompts.detector is not set; expected module:callable")
    return LiveDetector(load_detector(settings.detector, device), settings.detector, settings)


def load_detector(name: str, device: str) -> Detector:
    """Import a detector.

    Args:
        name: ``module:callable``, looked up from the current folder too; ``torchvision:maskrcnn``
            is torchvision's Mask R-CNN with its COCO weights.

    Raises:
        InputError: if there is no such thing.
    """
    if name == "torchvision:maskrcnn":
        from samrot.detectors import torchvision_mask_rcnn

        return torchvision_mask_rcnn(device=device)
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        detector: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"prompts.detector {name!r} cannot be imported ({error}); expected module:callable, "
            "with the module in the current folder or installed"
        ) from error
    if not callable(detector):
        raise InputError(f"prompts.detector {name!r} is not callable; expected image -> Detections")
    return detector


def read_detections(
    path: str | Path, dataset: CocoDataset, settings: PromptSettings
) -> dict[int, Detections]:
    """A COCO-results JSON as image id -> detections, most confident first.

    Raises:
        InputError: if it is not COCO results, or names an image that the dataset does not list.
    """
    records = read_json(path, "prompts.file")
    if not isinstance(records, list):
        raise InputError(f"prompts.file {path} is not a list; expected COCO results")
    grouped: dict[int, list[dict[str, Any]]] = {}
    for place, record in enumerate(records):
        for key in ("image_id", "category_id", "bbox", "score"):
            if not isinstance(record, dict) or key not in record:
                raise InputError(
                    f"prompts.file {path}: entry {place} lacks {key!r}; expected COCO results"
                )
        if record["image_id"] not in dataset.images:
            raise InputError(
                f"prompts.file {path}: entry {place} is of image {record['image_id']}, which "
                f"{dataset.source} does not list; the files do not belong together"
            )
        grouped.setdefault(record["image_id"], []).append(record)
    return {
        image_id: _strongest(
            Detections(
                xywh_to_xyxy([record["bbox"] for record in found]),
                np.array([record["score"] for record in found]),
                np.array([record["category_id"] for record in found]),
            ),
            settings,
        )
        for image_id, found in grouped.items()
    }


def xywh_to_xyxy(boxes_xywh: Any) -> np.ndarray:
    """COCO boxes, (N, 4), to corners, float64."""
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _strongest(found: Detections, settings: PromptSettings) -> Detections:
    order = np.argsort(-found.scores, kind="stable")
    return found[order[found.scores[order] >= settings.min_score][: settings.max_per_image]]
