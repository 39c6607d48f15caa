"""Where the prompts of an evaluation come from: ground truth, detections on file, or a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from samrot.data.coco import CocoDataset
from samrot.data.coco_results import read_coco_results
from samrot.errors import InputError, check_choice, check_count, check_range
from samrot.evaluation.views import OrbitView
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform, xywh_to_xyxy
from samrot.geometry.pose import Pose, factor_angle
from samrot.geometry.rotated_boxes import minimum_area_box, upright_boxes
from samrot.models import Detector, load_detector
from samrot.robust.canonicalized import checked
from samrot.robust.frames import CanonicalFrame
from samrot.structures.detections import Detections
from samrot.structures.prompts import Prompts

LEAST_SIDE = 1.0  # pixels, of the rotated box of an outline that is a line
ROTATED_SOURCES = ("gt-rotated", "gt-rotated-hull")
GROUND_TRUTH_SOURCES = ("gt", *ROTATED_SOURCES)
SOURCES = (*GROUND_TRUTH_SOURCES, "detections", "detector")


@dataclass(kw_only=True)
class PromptSettings:
    """Boxes to prompt with.

    Args:
        source: gt (ground-truth boxes), gt-rotated (the smallest rotated boxes of the ground-truth
            masks), gt-rotated-hull (the upright boxes around those, for comparison), detections
            (JSON on disk) or detector (run live).
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
        check_range("prompts.min_score", self.min_score, -1e9)
        check_count("prompts.max_per_image", self.max_per_image, 1)


class PromptKind(Enum):
    """What the prompts of a view are, and so what can be said of its masks."""

    GROUND_TRUTH = "ground truth"
    DETECTIONS_OF_UPRIGHT = "detections on the upright photos, moved along"
    DETECTIONS_OF_VIEWS = "detections on each view"
    DETECTOR = "live detector"

    @property
    def names_instances(self) -> bool:
        """Whether the n-th prompt is of the same object in every view."""
        return self in (PromptKind.GROUND_TRUTH, PromptKind.DETECTIONS_OF_UPRIGHT)


@dataclass(frozen=True, eq=False)
class ViewPrompts:
    """The prompts of one view of a photo, N boxes.

    Args:
        kind: where they come from.
        boxes_xyxy: (N, 4) float64, in the frame of the view.
        category_ids: (N,) int.
        scores: (N,) float of the detector; 1 for ground truth.
        instance_ids: (N,) the same object has the same id in every view; only where the kind names
            instances.
        masks: (N, H, W) bool, in the frame of the view, of a detector that segments too.
        in_canonical: the boxes are in the canonical frame of the method instead: moved out of it
            and in again, those of tilted photos would grow.
        rotated_boxes: (N, 5) float64, in the frame of the view, to prompt with instead.
    """

    kind: PromptKind
    boxes_xyxy: np.ndarray
    category_ids: np.ndarray
    scores: np.ndarray
    instance_ids: np.ndarray | None = None
    masks: np.ndarray | None = None
    in_canonical: bool = False
    rotated_boxes: np.ndarray | None = None

    @classmethod
    def of_detections(
        cls, kind: PromptKind, detections: Detections, instance_ids: np.ndarray | None = None
    ) -> ViewPrompts:
        """Detections as prompts."""
        return cls(
            kind,
            detections.boxes_xyxy,
            detections.category_ids,
            detections.scores,
            instance_ids,
            detections.masks,
        )

    @property
    def prompts(self) -> Prompts:
        """What the segmenter is asked."""
        if self.rotated_boxes is not None:
            return Prompts(rotated_boxes=self.rotated_boxes)
        return Prompts(boxes_xyxy=self.boxes_xyxy)

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


class PromptSource(Protocol):
    """Makes the prompts of any view of any photo of a dataset."""

    kind: PromptKind
    description: str

    def prompts(
        self, image_id: int, image: np.ndarray, view: OrbitView, frame: CanonicalFrame
    ) -> ViewPrompts:
        """The prompts of one view.

        Args:
            image_id: id of the photo.
            image: (H, W, 3) uint8, the view.
            view: how the upright photo was moved.
            frame: how the method takes the view to lie; a detector sees the canonical image.
        """
        ...


class GroundTruthBoxes:
    """The annotations' own boxes, moved with the image; crowds and zero areas left out.

    At angles that are no quarter turns they are the boxes of the turned outlines.
    """

    kind = PromptKind.GROUND_TRUTH
    description = "ground-truth boxes"

    def __init__(self, dataset: CocoDataset) -> None:
        self.dataset = dataset

    def prompts(
        self, image_id: int, image: np.ndarray, view: OrbitView, frame: CanonicalFrame
    ) -> ViewPrompts:
        """See ``PromptSource``."""
        instances = self.dataset.instances(image_id)
        transform = view.transform(self.dataset.size_hw(image_id))
        if view.is_exact:
            upright = xywh_to_xyxy([instance["bbox"] for instance in instances])
            boxes = transform.boxes(upright)
        else:
            outlines = [transform.points(self.dataset.outline(truth)) for truth in instances]
            corners = [(*points.min(axis=0), *points.max(axis=0)) for points in outlines]
            boxes = np.array(corners).reshape(-1, 4)
        return _of_instances(boxes, instances)


class GroundTruthRotatedBoxes:
    """The smallest rotated boxes of the annotations' outlines, moved with the image.

    Args:
        dataset: the photos and their ground truth.
        hull: prompt with the upright boxes around them instead.
    """

    kind = PromptKind.GROUND_TRUTH

    def __init__(self, dataset: CocoDataset, *, hull: bool) -> None:
        self.dataset = dataset
        self.hull = hull
        self.description = "ground-truth rotated boxes" + (", their hulls" if hull else "")

    def prompts(
        self, image_id: int, image: np.ndarray, view: OrbitView, frame: CanonicalFrame
    ) -> ViewPrompts:
        """See ``PromptSource``."""
        instances = self.dataset.instances(image_id)
        smallest = [minimum_area_box(self.dataset.outline(truth)) for truth in instances]
        upright = np.array(smallest).reshape(-1, 5)
        upright[:, 2:4] = np.maximum(upright[:, 2:4], LEAST_SIDE)
        rotated = view.transform(self.dataset.size_hw(image_id)).rotated_boxes(upright)
        prompts = _of_instances(upright_boxes(rotated, "hull"), instances)
        return prompts if self.hull else replace(prompts, rotated_boxes=rotated)


def _of_instances(boxes_xyxy: np.ndarray, instances: Sequence[dict[str, Any]]) -> ViewPrompts:
    return ViewPrompts(
        PromptKind.GROUND_TRUTH,
        boxes_xyxy,
        np.array([instance["category_id"] for instance in instances], dtype=np.int64),
        np.ones(len(instances)),
        np.array([instance["id"] for instance in instances], dtype=np.int64),
    )


class UprightDetections:
    """Detections on file, made on the upright photos; their boxes are moved along."""

    kind = PromptKind.DETECTIONS_OF_UPRIGHT
    description = "detections on the upright images, turned along"

    def __init__(self, dataset: CocoDataset, detections: dict[int, Detections]) -> None:
        self.dataset = dataset
        self.detections = detections

    def prompts(
        self, image_id: int, image: np.ndarray, view: OrbitView, frame: CanonicalFrame
    ) -> ViewPrompts:
        """See ``PromptSource``."""
        detections = self.detections.get(image_id, Detections.none())
        transform = view.transform(self.dataset.size_hw(image_id))
        moved = replace(detections, boxes_xyxy=transform.boxes(detections.boxes_xyxy))
        return ViewPrompts.of_detections(self.kind, moved, np.arange(len(detections)))


class ViewDetections:
    """Detections on file, made on each view: a method gets those of what it takes to be upright."""

    kind = PromptKind.DETECTIONS_OF_VIEWS
    description = "detections on each turn of the images"

    def __init__(self, dataset: CocoDataset, by_element: dict[int, dict[int, Detections]]) -> None:
        self.dataset = dataset
        self.by_element = by_element

    def prompts(
        self, image_id: int, image: np.ndarray, view: OrbitView, frame: CanonicalFrame
    ) -> ViewPrompts:
        """See ``PromptSource``."""
        # Moved by g and estimated as p, a photo is canonically p^-1 g of the upright one.
        element = D4.compose(D4.inverse(frame.pose.element), view.pose.element)
        if element not in self.by_element:
            raise InputError(
                f"prompts.file holds no detections on photos moved by {D4.names[element]}, which "
                f"the method sees of image {image_id}; use the detections on the upright photos, "
                "or a live detector"
            )
        detections = self.by_element[element].get(image_id, Detections.none())
        size_hw = self.dataset.size_hw(image_id)
        of_file = PlaneTransform.from_pose(Pose(element), size_hw)
        transform = of_file.inverse().then(view.transform(size_hw))
        moved = replace(detections, boxes_xyxy=transform.boxes(detections.boxes_xyxy))
        return ViewPrompts.of_detections(self.kind, moved)


class LiveDetector:
    """A detector that sees what the method sees: the canonical image."""

    kind = PromptKind.DETECTOR

    def __init__(self, detector: Detector, name: str, settings: PromptSettings) -> None:
        self.detector = checked(detector)
        self.settings = settings
        self.description = f"detector {name}"

    def prompts(
        self, image_id: int, image: np.ndarray, view: OrbitView, frame: CanonicalFrame
    ) -> ViewPrompts:
        """See ``PromptSource``."""
        found = _strongest(self.detector(frame.canonical_image(image)), self.settings)
        masks = frame.user_detections(found).masks
        prompts = ViewPrompts.of_detections(self.kind, replace(found, masks=masks))
        return replace(prompts, in_canonical=True)


def build_prompt_source(
    settings: PromptSettings, dataset: CocoDataset, device: str
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
    if settings.source in ROTATED_SOURCES:
        return GroundTruthRotatedBoxes(dataset, hull=settings.source == ROTATED_SOURCES[1])
    if settings.source == "detections":
        if settings.file is None:
            raise InputError("prompts.file is not set; expected a COCO-results JSON, or four")
        if isinstance(settings.file, dict) and set(settings.file) != {0, 90, 180, 270}:
            raise InputError(
                f"prompts.file names angles {sorted(settings.file)}; expected 0, 90, 180 and 270"
            )
        if isinstance(settings.file, str):
            return UprightDetections(dataset, read_detections(settings.file, dataset, settings))
        by_element = {factor_angle(angle)[0]: path for angle, path in settings.file.items()}
        return ViewDetections(
            dataset,
            {
                element: read_detections(path, dataset, settings, element)
                for element, path in by_element.items()
            },
        )
    if settings.detector is None:
        raise InputError("prompts.detector is not set; expected module:callable")
    return LiveDetector(load_detector(settings.detector, device), settings.detector, settings)


def read_detections(
    path: str | Path, dataset: CocoDataset, settings: PromptSettings, element: int = 0
) -> dict[int, Detections]:
    """A COCO-results JSON as image id -> detections that count, most confident first.

    Args:
        path: path of the file.
        dataset: dataset of the images.
        settings: ``min_score`` and ``max_per_image`` count.
        element: element of D4 that moved the images that the file was made on.

    Raises:
        InputError: as ``read_coco_results``.
    """
    by_image = read_coco_results(path, dataset, element)
    return {image_id: _strongest(found, settings) for image_id, found in by_image.items()}


def _strongest(detections: Detections, settings: PromptSettings) -> Detections:
    order = np.argsort(-detections.scores, kind="stable")
    return detections[
        order[detections.scores[order] >= settings.min_score][: settings.max_per_image]
    ]
