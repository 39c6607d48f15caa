"""Segmentation: every method at every view of a photo, masks back in the upright frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat, zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.data.coco import CocoDataset
from samrot.errors import InputError
from samrot.evaluation.methods import METHODS
from samrot.evaluation.prompts import PromptKind, PromptSource, ViewPrompts, build_prompt_source
from samrot.evaluation.results import coco_results
from samrot.evaluation.settings import DETECTOR, EvaluateSettings, sample
from samrot.evaluation.summary import summarise
from samrot.evaluation.table import detail_tables, summary_csv, summary_latex, summary_table
from samrot.evaluation.views import OrbitView
from samrot.geometry.rle import RLE, encode_mask, rle_iou
from samrot.robust.pipeline import CanonicalFrame, CanonicalImage, Pipeline, find_frame
from samrot.runtime.background import in_background
from samrot.runtime.records import Record
from samrot.runtime.run_folder import RunFolder
from samrot.scoring import image_matches
from samrot.segmenters import Segmenter
from samrot.segmenters.memo import MemoSegmenter
from samrot.structures.fingerprints import fingerprint
from samrot.structures.prompts import Prompts

STAGES = ("read", "canonicalize", "prompt", "encode", "decode", "record")


@dataclass
class EncodedView:
    """The masks of a view in the upright frame, so far.

    Args:
        rles: as run-length encodings.
        predicted_ious: likewise.
    """

    rles: list[RLE] = field(default_factory=list)
    predicted_ious: list[float] = field(default_factory=list)


@dataclass
class Photo:
    """A photo on its way through the stages.

    Args:
        image_id: id in the dataset.
        upright: (H, W, 3) uint8 RGB.
        views: what is asked of it.
        seconds: stage -> spent so far.
        encoded: what came of each view, so far.
    """

    image_id: int
    upright: np.ndarray
    views: list[MethodView] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    encoded: dict[MethodView, EncodedView] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time within as that stage's."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class MethodView:
    """A view of a photo under one method.

    Args:
        method: a key of ``METHODS``.
        view: how the upright photo was moved.
        image: (H, W, 3) uint8 RGB, the view; shared by the methods.
        frame: how the method takes it to lie.
        prompts: prompts in the frame of the view.
    """

    method: str
    view: OrbitView
    image: np.ndarray
    frame: CanonicalFrame
    prompts: ViewPrompts


@dataclass(frozen=True, eq=False)
class SegmentedBatch:
    """Some masks of a view: few enough for memory, however many prompts there are.

    Args:
        photo: the photo that it is a view of.
        asked: view and method segmented.
        masks: (N, H, W) bool, in the frame of the view.
        predicted_ious: (N,) of the masks.
    """

    photo: Photo
    asked: MethodView
    masks: np.ndarray
    predicted_ious: np.ndarray


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
        if any(METHODS[method].estimates for method in settings.methods):
            self.canonicalizer = settings.canonicalizer.load(device)
        overlap = device != "cpu" if overlap is None else overlap
        self.map_stage: Any = in_background if overlap else map
        self.memo: MemoSegmenter | None = None
        if segmenter is not None:
            self.memo = MemoSegmenter(segmenter, images_per_batch=settings.images_per_batch)
            self.pipeline = Pipeline(self.memo)
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
        for _ in self.map_stage(partial(self._record, write), segmented):
            pass

    @staticmethod
    def table(summary: dict[str, Any]) -> str:
        """The summary, for a person."""
        return summary_table(summary)

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
                pose_source = METHODS[method].pose_source(self.canonicalizer, view)
                with photo.timed("canonicalize" if METHODS[method].estimates else "read"):
                    frame = find_frame(image, pose_source)
                with photo.timed("prompt"):
                    prompts = self.source.prompts(image_id, image, view, frame)
                photo.views.append(MethodView(method, view, image, frame, prompts))
        return photo

    def _segment_all(self, photos: Iterator[Photo]) -> Iterator[SegmentedBatch | Photo]:
        """Batches of the views of a photo, then the photo.

        Work is shared between the views of a photo, and encoding between those of a batch.
        """
        while group := list(islice(photos, self.settings.images_per_batch)):
            encoded = self._encode(group)
            for photo in group:
                views = [self._segment(photo, asked, next(encoded)) for asked in photo.views]
                # The n-th batches of all views together: most of them ask the same.
                for batches in zip_longest(*views):
                    yield from (batch for batch in batches if batch is not None)
                    if self.memo is not None:
                        self.memo.clear_segmentations()
                yield photo
            if self.memo is not None:
                self.memo.clear()

    def _encode(self, photos: list[Photo]) -> Iterator[CanonicalImage | None]:
        """Each view of each photo; None where nothing segments."""
        if self.memo is None:
            return repeat(None)
        start = time.perf_counter()
        asked = [view for photo in photos for view in photo.views]
        encoded = self.pipeline.encode(
            [view.image for view in asked], [view.frame for view in asked]
        )
        for photo in photos:
            photo.seconds["encode"] = (time.perf_counter() - start) / len(photos)
        return iter(encoded)

    def _segment(
        self, photo: Photo, asked: MethodView, image: CanonicalImage | None
    ) -> Iterator[SegmentedBatch]:
        prompts = asked.prompts
        if len(prompts) == 0:
            return
        if image is None:
            if prompts.masks is None:
                raise InputError(
                    "segmenter.name is detector, but the detector returned no masks; expected "
                    "samrot.Detections(boxes_xyxy, scores, category_ids, masks)"
                )
            yield SegmentedBatch(photo, asked, prompts.masks, np.ones(len(prompts)))
            return
        chosen = self.settings.segmenter
        batches = self.pipeline.best_masks(
            image,
            Prompts(boxes_xyxy=prompts.boxes_xyxy),
            multimask=chosen.multimask,
            refine=chosen.refine,
        )
        while True:
            with photo.timed("decode"):
                best = next(batches, None)
                if best is None:
                    return
                masks = best.masks[:, 0].cpu().numpy()
                scores = best.scores[:, 0].cpu().double().numpy()
            yield SegmentedBatch(photo, asked, masks, scores)

    def _record(self, write: Callable[[Record], None], segmented: SegmentedBatch | Photo) -> None:
        """Move masks back and encode them; write the record of a photo that is done."""
        if isinstance(segmented, SegmentedBatch):
            photo, asked = segmented.photo, segmented.asked
            with photo.timed("record"):
                back = asked.view.transform(self.dataset.size_hw(photo.image_id)).inverse()
                encoded = photo.encoded.setdefault(asked, EncodedView())
                encoded.rles += [encode_mask(back.masks(mask)) for mask in segmented.masks]
                encoded.predicted_ious += segmented.predicted_ious.tolist()
            return
        photo = segmented
        results: dict[str, dict[str, Any]] = {}
        with photo.timed("record"):
            for asked in photo.views:
                by_view = results.setdefault(asked.method, {})
                by_view[asked.view.key] = self._result(photo, asked)
        write(
            {
                "image_id": photo.image_id,
                "fingerprint": fingerprint(photo.upright),
                "methods": results,
                "seconds": photo.seconds,
            }
        )

    def _result(self, photo: Photo, asked: MethodView) -> dict[str, Any]:
        image_id, prompts = photo.image_id, asked.prompts
        encoded = photo.encoded.get(asked, EncodedView())
        back = asked.view.transform(self.dataset.size_hw(image_id)).inverse()
        rles = encoded.rles
        predicted_ious = np.array(encoded.predicted_ious)
        scores = _mask_scores(self.settings.score, prompts, predicted_ious)
        ids = prompts.instance_ids
        result: dict[str, Any] = {
            "pose": asked.frame.pose.element if METHODS[asked.method].undoes_pose else None,
            "masks": [rle["counts"] for rle in rles],
            "scores": scores.tolist(),
            "category_ids": prompts.category_ids.tolist(),
            "instance_ids": None if ids is None else ids.tolist(),
        }
        if prompts.kind is PromptKind.GROUND_TRUTH:
            truths = self.dataset.instances(image_id) if self.dataset.has_masks else ()
            result["ious"] = [
                rle_iou(rle, self.dataset.rle(truth))
                for rle, truth in zip(rles, truths, strict=self.dataset.has_masks)
            ]
        else:
            upright_boxes = back.boxes(prompts.boxes_xyxy)
            upright_boxes[:, 2:] -= upright_boxes[:, :2]
            result["boxes_xywh"] = upright_boxes.tolist()
            result["box_scores"] = prompts.scores.tolist()
        result["matches"] = self._matches(image_id, result)
        return result

    def _matches(self, image_id: int, result: dict[str, Any]) -> dict[str, Any]:
        """The per-image matches that average precision needs, by kind of result."""
        annotations = self.dataset.annotations_as_rle(image_id)
        results = coco_results(image_id, result, self.dataset)
        image = self.dataset.images[image_id]
        kinds = [kind for kind in results if kind != "segm" or self.dataset.has_masks]
        return {kind: image_matches(image, annotations, results[kind], kind) for kind in kinds}


def _mask_scores(chosen: str, prompts: ViewPrompts, predicted_ious: np.ndarray) -> np.ndarray:
    if prompts.kind is PromptKind.GROUND_TRUTH or chosen == "segmenter":
        return predicted_ious
    if chosen == "product":
        return prompts.scores * predicted_ious
    return prompts.scores
