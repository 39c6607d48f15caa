"""Segmentation: every method at every view of a photo, masks back in the upright frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat, zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.data.coco import CocoDataset
from samrot.errors import InputError
from samrot.evaluation.mask_records import MaskRecorder
from samrot.evaluation.methods import find_method
from samrot.evaluation.photo import AskedView, MethodView, Photo, PromptedFrame, SegmentedBatch
from samrot.evaluation.prompts import PromptSource, ViewPrompts, build_prompt_source
from samrot.evaluation.report.segmentation import segmentation_report
from samrot.evaluation.settings import DETECTOR, EvaluateSettings, sample
from samrot.evaluation.summary import summarise
from samrot.evaluation.table import detail_tables, summary_csv, summary_latex, summary_table
from samrot.robust.object_frames import encode_objects
from samrot.robust.orbit import average_masks, find_frames, mean_predicted_iou
from samrot.robust.pipeline import CanonicalImage, Pipeline
from samrot.runtime.background import in_background
from samrot.runtime.records import Record
from samrot.runtime.run_folder import RunFolder
from samrot.segmenters import Segmenter
from samrot.segmenters.memo import MemoSegmenter
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation


class SegmentationTask:
    """Evaluate photos: every method at every view; see ``Task``.

    In three stages: read photos, find their frames and ask for boxes; segment; move masks back,
    encode and write them.

    Args:
        settings: settings of the run.
        dataset: where photos and ground truth come from.
        device: device of the models.
        overlap: the first and the last stage run in threads of their own, beside the second; by
            default where there is a GPU: a CPU is busy with any one of them.
        segmenter: one that is loaded already; None loads that of the settings.
    """

    settings_class: ClassVar[type] = EvaluateSettings
    item: ClassVar[str] = "image"
    part: ClassVar[str] = "boxes"

    def __init__(
        self,
        settings: EvaluateSettings,
        dataset: CocoDataset,
        device: str,
        *,
        overlap: bool | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.views = settings.views()
        self.source: PromptSource = build_prompt_source(settings.prompts, dataset, device)
        if segmenter is None and settings.segmenter.name != DETECTOR:
            segmenter = settings.segmenter.load(device)
        self.canonicalizer: Canonicalizer | None = None
        if settings.asks_canonicalizer:
            self.canonicalizer = settings.canonicalizer.load(device)
        overlap = device != "cpu" if overlap is None else overlap
        self.map_stage: Any = in_background if overlap else map
        self.memo: MemoSegmenter | None = None
        if segmenter is not None:
            self.memo = MemoSegmenter(segmenter, images_per_batch=settings.images_per_batch)
            self.pipeline = Pipeline(self.memo)
            asked = [name for name in settings.methods if find_method(name).asks_segmenter]
            if asked and not segmenter.predicts_scores:
                raise InputError(
                    f"methods holds {asked[0]}, which goes by the predicted IoU, but "
                    f"{segmenter.name} predicts none; leave it out"
                )
        models = {
            "segmenter": None if self.memo is None else self.memo.segmenter,
            "canonicalizer": self.canonicalizer,
        }
        # Model -> fingerprints of the photos it was trained on; None where it does not say.
        self.trained_on: dict[str, np.ndarray | None] = {
            name: getattr(model, "trained_on", None)
            for name, model in models.items()
            if model is not None
        }

    def run(self, image_ids: Sequence[int], write: Callable[[Record], None]) -> None:
        """Evaluate photos, in order.

        Args:
            image_ids: ids of the photos.
            write: called with each photo's JSON-ready record: image id, seconds, and method -> view
                -> result; from another thread where stages overlap.

        Raises:
            InputError: if a photo is unusable; those before it were written.
        """
        photos = self.map_stage(self._prepare, image_ids)
        segmented = self._segment_all(iter(photos))
        recorder = MaskRecorder(self.dataset, self.settings.score, write)
        for _ in self.map_stage(recorder, segmented):
            pass

    @staticmethod
    def table(summary: dict[str, Any]) -> str:
        """The summary, for a person."""
        return summary_table(summary)

    @staticmethod
    def report(
        summary: dict[str, Any], records: Iterable[Record], dataset: CocoDataset, folder: Path
    ) -> str:
        """See ``Task``."""
        return segmentation_report(summary, records, dataset, folder)

    @staticmethod
    def num_parts(record: Record) -> int:
        """See ``Task``."""
        return sum(len(v["masks"]) for found in record["methods"].values() for v in found.values())

    def close(self) -> None:
        """Let the models go."""
        self.canonicalizer = None
        if self.memo is not None:
            del self.pipeline
            self.memo = None

    @staticmethod
    def items(dataset: CocoDataset, settings: EvaluateSettings) -> list[int]:
        """Ids of the photos that are evaluated; each is there.

        Raises:
            MissingFileError: naming the first that is not.
        """
        if RunFolder.is_one(settings.out) and RunFolder(Path(settings.out)).is_of_old_version:
            image_ids = dataset.image_ids[: settings.limit]  # as it chose them
        else:
            image_ids = sample(dataset.image_ids, settings.limit)
        dataset.check_photos(image_ids)
        return image_ids

    @staticmethod
    def is_whole(summary: dict[str, Any], image_ids: list[int], settings: EvaluateSettings) -> bool:
        """Whether all these photos are in it, and the intervals that are asked for."""
        resamples = (summary.get("intervals") or {"resamples": 0})["resamples"]
        return bool(
            summary["dataset"]["images"] == len(image_ids) and resamples == settings.bootstrap
        )

    @staticmethod
    def texts(summary: dict[str, Any]) -> dict[str, str]:
        """See ``Task``."""
        return {
            "summary.md": summary_table(summary) + detail_tables(summary),
            "summary.csv": summary_csv(summary),
            "summary.tex": summary_latex(summary),
        }

    def summarise(
        self, records: Iterable[Record], image_ids: list[int], folder: Path
    ) -> dict[str, Any]:
        """Score a finished run, see ``summarise`` of the summary."""
        return summarise(
            records, self.dataset, image_ids, self.source.description, self.settings, folder,
            self.trained_on,
        )  # fmt: skip

    def _prepare(self, image_id: int) -> Photo:
        """Read, move to each view, find the frames of the methods, ask for boxes."""
        start = time.perf_counter()
        photo = Photo(image_id, self.dataset.read(image_id))
        photo.seconds["read"] = time.perf_counter() - start
        size_hw = self.dataset.size_hw(image_id)
        images = {view.key: view.transform(size_hw).image(photo.upright) for view in self.views}
        for method in self.settings.methods:
            for view in self.views:
                image = images[view.key]
                with photo.timed("canonicalize" if find_method(method).estimates else "read"):
                    source = find_method(method).pose_source(self.canonicalizer, view)
                    frames = find_frames(image, source, tilt=self.settings.undone)
                with photo.timed("prompt"):
                    candidates = [
                        PromptedFrame(
                            frame, self.source.prompts(image_id, image, view, frame), log_weight
                        )
                        for frame, log_weight in frames
                    ]
                photo.asked.append(AskedView(method, view, image, candidates))
        return photo

    def _segment_all(self, photos: Iterator[Photo]) -> Iterator[SegmentedBatch | Photo]:
        """Batches of the views of a photo, then the photo.

        Work is shared between the views of a photo, and encoding between those of a batch.
        """
        while group := list(islice(photos, self.settings.images_per_batch)):
            encoded = self._encode(group)
            for photo in group:
                for asked in photo.asked:
                    images = [next(encoded) for _ in asked.candidates]
                    photo.views.append(self._decide(photo, asked, images))
                views = [self._segment(photo, view) for view in photo.views]
                # The n-th batches of all views together: most of them ask the same.
                for batches in zip_longest(*views):
                    yield from (batch for batch in batches if batch is not None)
                    if self.memo is not None:
                        self.memo.clear_segmentations()
                yield photo
            if self.memo is not None:
                self.memo.clear()

    def _encode(self, photos: list[Photo]) -> Iterator[CanonicalImage | None]:
        """Each candidate of each view of each photo; None where nothing segments."""
        if self.memo is None:
            return repeat(None)
        start = time.perf_counter()
        pairs = [
            (asked.image, candidate.frame)
            for photo in photos
            for asked in photo.asked
            for candidate in asked.candidates
        ]
        encoded = self.pipeline.encode(*map(list, zip(*pairs, strict=True)))
        for photo in photos:
            photo.seconds["encode"] = (time.perf_counter() - start) / len(photos)
        return iter(encoded)

    def _decide(
        self, photo: Photo, asked: AskedView, images: list[CanonicalImage | None]
    ) -> MethodView:
        """Which candidate it is: that of the largest mean predicted IoU, weights added."""
        candidates = asked.candidates
        if find_method(asked.method).averages:
            return MethodView(asked, candidates[0].frame, candidates[0].prompts, images)
        place = 0
        if len(candidates) > 1:
            with photo.timed("decode"):
                evidence = [
                    candidate.log_weight + self._surety(photo, image, candidate.prompts)
                    for candidate, image in zip(candidates, images, strict=True)
                ]
            place = int(np.argmax(evidence))
        chosen = candidates[place]
        return MethodView(asked, chosen.frame, chosen.prompts, [images[place]])

    def _surety(self, photo: Photo, image: CanonicalImage | None, prompts: ViewPrompts) -> float:
        """Mean predicted IoU; the masks are not kept."""
        assert image is not None
        assert self.memo is not None
        boxes = prompts.prompts
        asked = image.frame.canonical_prompts(boxes, in_canonical=prompts.in_canonical)
        key = self.memo.question(image.encoding, asked)
        if key not in photo.sureties:
            photo.sureties[key] = mean_predicted_iou(
                self.pipeline,
                image,
                boxes,
                multimask=self.settings.segmenter.multimask,
                in_canonical=prompts.in_canonical,
            )
            self.memo.clear_segmentations()
        return photo.sureties[key]

    def _segment(self, photo: Photo, segmented: MethodView) -> Iterator[SegmentedBatch]:
        prompts, image = segmented.prompts, segmented.images[0]
        if len(prompts) == 0:
            return
        if image is None:
            if prompts.masks is None:
                raise InputError(
                    "segmenter.name is detector, but the detector returned no masks; expected "
                    "samrot.Detections(boxes_xyxy, scores, category_ids, masks)"
                )
            rows = np.arange(len(prompts))
            yield SegmentedBatch(photo, segmented, prompts.masks, np.ones(len(prompts)), rows)
            return
        with photo.timed("encode"):
            parts = encode_objects(
                self.pipeline, segmented.asked.image, image, prompts.rotated_boxes, {}
            )
        segmented.objects.extend(part.image.frame for part in parts if part.image is not image)
        for part in parts:
            rows = part.rows if len(parts) > 1 else np.arange(len(prompts))
            batches = self._masks(segmented, part.image, prompts.prompts[rows])
            while True:
                with photo.timed("decode"):
                    best = next(batches, None)
                    if best is None:
                        break
                    masks = best.masks[:, 0].cpu().numpy()
                    scores = best.scores[:, 0].cpu().double().numpy()
                rows, of_batch = rows[len(masks) :], rows[: len(masks)]
                yield SegmentedBatch(photo, segmented, masks, scores, of_batch)

    def _masks(
        self, segmented: MethodView, image: CanonicalImage, prompts: Prompts
    ) -> Iterator[Segmentation]:
        chosen = self.settings.segmenter
        if segmented.method.averages:
            images = [image for image in segmented.images if image is not None]
            return average_masks(
                self.pipeline, images, prompts, multimask=chosen.multimask, refine=chosen.refine
            )
        return self.pipeline.best_masks(
            image,
            prompts,
            multimask=chosen.multimask,
            refine=chosen.refine,
            in_canonical=segmented.prompts.in_canonical,
        )
