"""``samrot segment``: masks for photos in files and folders, however they are turned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samrot.canonicalizers import CanonicalizerChoice
from samrot.commands.bursts import BurstPose, find_bursts
from samrot.commands.photo_runs import NAME, PhotoRunSettings, names_digest, results_root
from samrot.commands.segment_photo import SegmentItem, SegmentWorker
from samrot.commands.segment_results import result_folders, write_dataset
from samrot.data.photo_names import name_photos
from samrot.data.prompt_files import prompts_from_numbers, read_prompts
from samrot.errors import InputError, check_choice, check_range
from samrot.robust.frames import TILT_POLICIES
from samrot.runtime.runner import Job, run_job
from samrot.segmenters import SegmenterSettings
from samrot.structures.prompts import Prompts
from samrot.wording import counted

DEMO_SEGMENTER = "sam_mini"
FRAMES = ("displayed", "stored", "upright")


@dataclass(kw_only=True)
class EverythingSettings:
    """What is kept of a grid of clicks.

    Args:
        points_per_side: number of points a side of the grid.
        pred_iou_thresh: least predicted IoU that is kept, 0..1; that of the segmenter by default.
        stability_score_thresh: least stability under another cutoff that is kept, 0..1; that of the
            segmenter by default.
        min_mask_region_area: smaller islands and holes are removed, pixels.
    """

    points_per_side: int = 32
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        check_range("grid.points_per_side", self.points_per_side, 1, 1024)
        check_range("grid.min_mask_region_area", self.min_mask_region_area, 0)
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            if getattr(self, name) is not None:
                check_range(f"grid.{name}", getattr(self, name), 0, 1)

    def chosen(self) -> dict[str, Any]:
        """Arguments of the mask generator."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(kw_only=True)
class SegmentSettings(PhotoRunSettings):
    """Settings of ``samrot segment``, besides which photos and where it runs.

    Args:
        box: x0 y0 x1 y1 of an object in every photo, pixels of the photo as it is displayed; four
            more, or the option again, for each further object.
        rotated_box: cx cy w h angle of an object in every photo, as box: a box of that width and
            height about a centre, turned counter-clockwise by the angle, degrees.
        point: x y of a click on one more object, pixels as of box; further clicks add up.
        label: label of each click: 1 in the object (all, if left out), 0 outside.
        prompts: CSV or JSON file of boxes and points by file name, instead of box, rotated_box and
            point; rotated boxes in a JSON.
        everything: segment all that is in the photo, from a grid of clicks, without prompts.
        burst: the photos of a folder are of one scene and turned alike: they share one pose, for
            which the evidence of all of them is summed.
        grid: the grid of clicks of everything, and what is kept of it.
        out: run folder; one that exists with the same settings is continued. Each photo gets a
            folder in it (mask_000.png and so on, masks.json, overlay.png), and all of them are in
            its annotations.json (COCO) and index.json.
        segmenter: which segmenter, and how prompts are decoded.
        canonicalizer: which canonicalizer.
        frame: frame in which masks are written: displayed (EXIF orientation applied, as viewers
            show the photo), stored, or upright, as the canonicalizer has it; prompts are always in
            the displayed one.
        tilt: what of a pose is undone: quarter (quarter turns and mirrors), full (a tilt too, by
            one warp), or auto: quarter for prompts, which fit the photo as it is, else full.
        min_confidence: probability of its pose below which a photo is named as uncertain.
    """

    out: str
    box: list[float] = field(default_factory=list)
    rotated_box: list[float] = field(default_factory=list)
    point: list[float] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    prompts: str | None = None
    everything: bool = False
    burst: bool = False
    grid: EverythingSettings = field(default_factory=EverythingSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    frame: str = "displayed"
    tilt: str = "auto"
    min_confidence: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("frame", self.frame, FRAMES)
        check_choice("tilt", self.tilt, TILT_POLICIES)
        check_range("min_confidence", self.min_confidence, 0, 1)
        given = {
            "box or point": bool(self.box or self.rotated_box or self.point or self.label),
            "prompts": self.prompts is not None,
            "everything": self.everything,
        }
        if sum(given.values()) != 1:
            named = ", ".join(name for name, there in given.items() if there) or "nothing"
            raise InputError(
                f"{named} says what to segment; expected exactly one of --box X0 Y0 X1 Y1 (and "
                "--rotated_box CX CY W H ANGLE, --point X Y), --prompts FILE, --everything"
            )
        if self.everything and (self.segmenter.multimask or self.segmenter.refine):
            raise InputError(
                "segmenter.multimask and refine are for prompts, but everything is segmented; "
                "leave them out"
            )


@dataclass(frozen=True)
class SegmentReport:
    """What became of the photos, by the path of each.

    Args:
        num_objects: number of objects found.
        failed: why a photo failed.
        unprompted: photos that the prompts do not name.
        uncertain: confidence of the poses that are less sure than asked for.
        bursts: the pose of each burst; several, where photos were added to one later.
    """

    num_objects: int
    failed: dict[str, str]
    unprompted: list[str]
    uncertain: dict[str, float]
    bursts: list[BurstPose]


def segment(settings: SegmentSettings) -> SegmentReport:
    """Run, or continue, the segmentation of photos; several processes share the work.

    Photos that cannot be read or prompted are passed over, and tried again by the same command.

    Raises:
        InputError: if the settings are off, before any photo is looked at.
        OSError: if results cannot be written; what is done stays done.
    """
    root = results_root(settings, settings.out)
    photos = name_photos(settings.images, [Path(settings.out), root])
    prompts = _prompts_by_photo(settings, photos)
    is_prompted = {name: settings.everything or bool(prompts.get(name)) for name in photos}
    folders = result_folders(name for name in photos if is_prompted[name])
    bursts = find_bursts(photos) if settings.burst else {}
    items = {
        name: SegmentItem(
            name, photos[name], folder, tuple(prompts.get(name, ())), bursts.get(name)
        )
        for name, folder in folders.items()
    }
    digest = names_digest(items)

    def build(device: str, rank: int) -> SegmentWorker:
        return SegmentWorker(
            root,
            settings.segmenter,
            settings.canonicalizer,
            device,
            settings.frame,
            settings.tilt,
            settings.min_confidence,
            settings.grid.chosen() if settings.everything else None,
        )

    summary = run_job(
        Job(
            name="segment",
            unit="image",
            settings=settings,
            items=items,
            id_key=NAME,
            build=build,
            is_whole=lambda summary: summary["names"] == digest and not summary["failed"],
            summarise=lambda _, records, folder: {
                "names": digest, **write_dataset(folder, root, records)
            },
            input_files={
                "prompts": settings.prompts,
                "segmenter.checkpoint": settings.segmenter.checkpoint,
                "canonicalizer.name": settings.canonicalizer.name,
            },
            executor=settings.executor,
            num_parts=lambda record: len(record.get("objects", ())),
            part="objects",
        )
    )  # fmt: skip
    unprompted = [str(photos[name]) for name in photos if not is_prompted[name]]
    return SegmentReport(
        summary["objects"],
        summary["failed"],
        unprompted,
        summary["uncertain"],
        [BurstPose(**pose) for pose in summary.get("bursts", [])],
    )


def remarks(report: SegmentReport, settings: SegmentSettings) -> list[str]:
    """What a person should know of a run, a line each."""
    lines = [f"failed: {path}: {reason}" for path, reason in report.failed.items()]
    if report.unprompted:
        lines.append(
            f"{counted(len(report.unprompted), 'photo')} without prompts in {settings.prompts}, "
            f"left out: {_some(report.unprompted)}"
        )
    if report.uncertain:
        shown = [f"{path} ({value:.2f})" for path, value in report.uncertain.items()]
        lines.append(
            f"{counted(len(shown), 'uncertain pose')}, of a probability below "
            f"{settings.min_confidence:g}: {_some(shown)}; look at their overlays"
        )
    if report.bursts:
        folders = Counter(pose.folder for pose in report.bursts)
        lines.append(
            f"{counted(len(folders), 'burst')}, of one pose each: {_some(map(str, report.bursts))}"
        )
        if grown := [folder for folder, poses in folders.items() if poses > 1]:
            lines.append(
                f"{counted(len(grown), 'burst')} grew after the first photos were segmented, which "
                f"do not know of the others: {_some(grown)}; choose another out"
            )
    if settings.segmenter.name == DEMO_SEGMENTER and settings.segmenter.checkpoint is None:
        lines.append(
            f"{DEMO_SEGMENTER} is a small model for demonstration; --segmenter.name sam_vit_h, for "
            "one, makes better masks"
        )
    return lines


def _some(names: Iterable[str], count: int = 5) -> str:
    """The first of some names, and how many more there are."""
    names = list(names)
    rest = [f"and {len(names) - count} more"] if len(names) > count else []
    return ", ".join([*names[:count], *rest])


def _prompts_by_photo(
    settings: SegmentSettings, photos: Collection[str]
) -> dict[str, list[Prompts]]:
    if settings.prompts is None:
        shared = prompts_from_numbers(
            settings.box, settings.point, settings.label, settings.rotated_box
        )
        return dict.fromkeys(photos, shared)
    listed = read_prompts(settings.prompts)
    unknown = sorted(set(listed) - set(photos))
    if unknown:
        raise InputError(
            f"prompts {settings.prompts} names {unknown[0]}, which is not among the images; "
            f"expected names such as {next(iter(photos))}"
        )
    return listed
