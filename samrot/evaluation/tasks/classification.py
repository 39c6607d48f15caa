"""Classification: every method at every view of a photo, several photos together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from samrot.canonicalizers import Canonicalizer, CanonicalizerChoice
from samrot.canonicalizers.canonicalizer import Content, content_of
from samrot.data.classified_photos import ClassifiedPhotos, ClassifiedPhotoSettings
from samrot.errors import InputError, check_choice, check_count
from samrot.evaluation.class_summary import class_table, summarise_classes
from samrot.evaluation.methods import POSE_METHODS
from samrot.evaluation.report.classification import classification_report
from samrot.evaluation.settings import RunSettings, sample
from samrot.evaluation.views import GROUPS, OrbitView, find_views
from samrot.geometry.plane import PlaneTransform
from samrot.models.classifiers import Classifier, NetworkClassifier, load_classifier
from samrot.robust.frames import SCORES_CANVAS, CanonicalFrame, find_frames
from samrot.robust.pose_sources import PoseSource
from samrot.runtime.records import Record

CYCLIC = tuple(name for name, group in GROUPS.items() if not group.has_mirrors)


@dataclass(kw_only=True)
class ClassifierChoice:
    """Which classifier.

    Args:
        name: cifar_resnet20, 32, 44 or 56, torchvision:NAME (as torchvision:resnet50), or
            module:callable, an image to its (K,) scores.
        checkpoint: weight file, published or of ``samrot train-classifier``; a callable has none.
    """

    name: str = "cifar_resnet20"
    checkpoint: str | None = None


@dataclass(kw_only=True)
class ClassificationSettings(RunSettings):
    """Settings of ``samrot evaluate --task classification``, besides those of every task.

    Args:
        data: labelled photos, upright.
        classifier: which classifier.
        task: classification.
        canonicalizer: which canonicalizer.
        group: group whose elements turn the photos: c4 (four turns) or c8 (eight); between quarter
            turns a photo is resampled once, keeps its size, and its edge is repeated.
        images_per_batch: views of photos that a network is given at once; all views of a photo are
            among them.
        bootstrap: resamples of the photos, for 95 % intervals of the numbers; 0 for none. It may
            grow.
    """

    may_grow: ClassVar[Mapping[str, str | None]] = {"limit": None, "bootstrap": None}

    data: ClassifiedPhotoSettings
    classifier: ClassifierChoice = field(default_factory=ClassifierChoice)
    task: str = "classification"
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    group: str = CYCLIC[0]
    images_per_batch: int = 64
    bootstrap: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task", self.task, ("classification",))
        check_choice("group", self.group, CYCLIC)
        check_count("images_per_batch", self.images_per_batch, 1)
        check_count("bootstrap", self.bootstrap, 0)

    def input_files(self) -> dict[str, str | None]:
        """Data and checkpoints."""
        return {
            "data.images": self.data.images,
            "classifier.checkpoint": self.classifier.checkpoint,
            "canonicalizer.name": self.canonicalizer.name,
        }


@dataclass(frozen=True, eq=False)
class ShownPhoto:
    """What the classifier is shown of a photo.

    Args:
        image_id: place in the data set.
        images: different images, each (H, W, 3) uint8 RGB.
        places: method -> view -> which of the images.
        poses: method -> view -> element and tilt, degrees, that were undone.
        seconds: stage -> spent so far.
    """

    image_id: int
    images: list[np.ndarray]
    places: dict[str, dict[str, int]]
    poses: dict[str, dict[str, tuple[int, float]]]
    seconds: dict[str, float]


class ClassificationTask:
    """Evaluate photos; see ``Task``.

    Args:
        settings: settings of the run.
        dataset: photos and their labels.
        device: device of the models.

    Raises:
        InputError: if the classifier is for other classes, or the canonicalizer tells mirror images
            apart.
    """

    settings_class: ClassVar[type] = ClassificationSettings
    item: ClassVar[str] = "image"
    part: ClassVar[str] = "views"

    def __init__(
        self, settings: ClassificationSettings, dataset: ClassifiedPhotos, device: str
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.views: list[OrbitView] = find_views((), settings.group)
        self.pose_group = GROUPS[settings.group]
        chosen = settings.classifier
        self.classifier: Classifier | None = load_classifier(
            chosen.name,
            chosen.checkpoint,
            dataset.classes,
            device=device,
            images_per_batch=settings.images_per_batch,
        )
        if isinstance(self.classifier, NetworkClassifier):
            dataset.check_classes(self.classifier.network.classes, str(chosen.checkpoint))
        self.canonicalizer: Canonicalizer | None = None
        if settings.asks_canonicalizer:
            self.canonicalizer = settings.canonicalizer.load(device)
            group = self.canonicalizer.group
            if group.has_mirrors:
                raise InputError(
                    f"canonicalizer.name {settings.canonicalizer.name} tells mirror images apart "
                    f"({group.name}); expected one of {', '.join(CYCLIC).upper()}"
                )
            self.pose_group = max(self.pose_group, group, key=lambda each: each.order)

    @staticmethod
    def items(dataset: ClassifiedPhotos, settings: ClassificationSettings) -> list[int]:
        """Places of the photos in the data set."""
        return sample(list(range(len(dataset))), settings.limit)

    @staticmethod
    def is_whole(
        summary: dict[str, Any], item_ids: list[int], settings: ClassificationSettings
    ) -> bool:
        """Whether all these photos are in it, and the intervals that are asked for."""
        resamples = (summary.get("intervals") or {"resamples": 0})["resamples"]
        return bool(
            summary["dataset"]["images"] == len(item_ids) and resamples == settings.bootstrap
        )

    @staticmethod
    def table(summary: dict[str, Any]) -> str:
        """The summary, for a person."""
        return class_table(summary)

    @staticmethod
    def texts(summary: dict[str, Any]) -> dict[str, str]:
        """See ``Task``."""
        return {"summary.md": class_table(summary)}

    @staticmethod
    def report(
        summary: dict[str, Any], records: Iterable[Record], dataset: ClassifiedPhotos, folder: Path
    ) -> str:
        """See ``Task``."""
        return classification_report(summary, folder)

    @staticmethod
    def num_parts(record: Record) -> int:
        """Views of the photo, of every method."""
        return sum(len(by_view) for by_view in record["methods"].values())

    def close(self) -> None:
        """Let the models go."""
        self.classifier = self.canonicalizer = None

    def run(self, item_ids: Sequence[int], write: Callable[[Record], None]) -> None:
        """Evaluate photos, in order; networks see as many of them together as a batch holds."""
        assert self.classifier is not None
        together = max(1, self.settings.images_per_batch // len(self.views))
        for first in range(0, len(item_ids), together):
            shown = self._show(item_ids[first : first + together])
            start = time.perf_counter()
            scores = self.classifier.scores([image for photo in shown for image in photo.images])
            spent = (time.perf_counter() - start) / len(shown)
            for photo in shown:
                own, scores = scores[: len(photo.images)], scores[len(photo.images) :]
                write(self._record(photo, own, spent))

    def _show(self, image_ids: Sequence[int]) -> list[ShownPhoto]:
        """Turn photos to each view, and bring them to the canonical frame of each method."""
        start = time.perf_counter()
        turned = [image for image_id in image_ids for image in self._turned(image_id)]
        read = time.perf_counter()
        frames: dict[str, list[CanonicalFrame]] = {}
        for name in self.settings.methods:
            source = POSE_METHODS[name].pose_source
            of_views = [cast(PoseSource, source(self.canonicalizer, view)) for view in self.views]
            frames[name] = find_frames(
                turned, of_views * len(image_ids), tilt="full", canvas=SCORES_CANVAS
            )
        shown = []
        for n, image_id in enumerate(image_ids):
            own = slice(n * len(self.views), (n + 1) * len(self.views))
            of_methods = {name: found[own] for name, found in frames.items()}
            shown.append(self._shown(image_id, turned[own], of_methods))
        canonicalize = time.perf_counter() - read
        for photo in shown:
            photo.seconds["read"] = (read - start) / len(shown)
            photo.seconds["canonicalize"] = canonicalize / len(shown)
        return shown

    def _turned(self, image_id: int) -> list[np.ndarray]:
        """A photo as each view has it."""
        photo = self.dataset.read(image_id)
        size_hw = (photo.shape[0], photo.shape[1])
        return [
            PlaneTransform.from_pose(view.pose, size_hw, SCORES_CANVAS).image(photo, None)
            for view in self.views
        ]

    def _shown(
        self, image_id: int, turned: list[np.ndarray], frames: dict[str, list[CanonicalFrame]]
    ) -> ShownPhoto:
        """A photo in the canonical frame of each method and view.

        Images of the same content are shown once: all elements of an exact orbit have one canonical
        image, and so have one result, to the bit.
        """
        images: dict[Content, np.ndarray] = {}
        number: dict[Content, int] = {}
        places: dict[str, dict[str, int]] = {}
        poses: dict[str, dict[str, tuple[int, float]]] = {}
        for method, of_views in frames.items():
            for view, image, frame in zip(self.views, turned, of_views, strict=True):
                canonical = frame.canonical_image(image)
                content = content_of(canonical)
                images.setdefault(content, canonical)
                places.setdefault(method, {})[view.key] = number.setdefault(content, len(number))
                pose = (frame.pose.element, frame.pose.tilt_deg)
                poses.setdefault(method, {})[view.key] = pose
        return ShownPhoto(image_id, list(images.values()), places, poses, {})

    def _record(self, photo: ShownPhoto, scores: np.ndarray, spent: float) -> Record:
        methods: dict[str, Any] = {}
        identical: dict[str, float] = {}
        for method, places in photo.places.items():
            poses = photo.poses[method]
            undoes = POSE_METHODS[method].undoes_pose
            methods[method] = {
                view: {
                    "predicted": int(scores[place].argmax()),
                    "pose": poses[view][0] if undoes else None,
                    "tilt_deg": poses[view][1] if undoes else None,
                }
                for view, place in places.items()
            }
            identical[method] = self._share_identical(scores, places)
        return {
            "image_id": photo.image_id,
            "label": int(self.dataset.labels[photo.image_id]),
            "methods": methods,
            "identical_scores": identical,
            "seconds": {**photo.seconds, "classify": spent},
        }

    def _share_identical(self, scores: np.ndarray, places: dict[str, int]) -> float:
        """Share of the tilts at which all quarter turns have the same scores, to the bit."""
        by_tilt: dict[float, set[bytes]] = {}
        for view in self.views:
            found = scores[places[view.key]].tobytes()
            by_tilt.setdefault(view.pose.tilt_deg, set()).add(found)
        return float(np.mean([len(different) == 1 for different in by_tilt.values()]))

    def summarise(
        self, records: Iterable[Record], item_ids: list[int], folder: Path
    ) -> dict[str, Any]:
        """Accuracies over photos and views; what is undefined is None."""
        settings = self.settings
        scored = summarise_classes(
            records, self.views, GROUPS[settings.group], self.pose_group, settings.methods,
            settings.bootstrap,
        )  # fmt: skip
        return {
            "dataset": {"images": len(item_ids), "classes": len(self.dataset.classes)},
            "classifier": settings.classifier.name,
            "canonicalizer": settings.canonicalizer.name,
            **scored,
        }
