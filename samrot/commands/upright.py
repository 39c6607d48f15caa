"""``samrot upright``: photos put upright, by their orientation tag or by their pixels."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samrot.canonicalizers import CanonicalizerChoice
from samrot.commands.photo_runs import (
    NAME,
    PhotoItem,
    PhotoRunSettings,
    names_digest,
    results_root,
)
from samrot.commands.upright_photo import UprightPhoto, UprightWorker
from samrot.commands.upright_undo import UNDO, UndoLog
from samrot.data.images import read_image
from samrot.data.photo_names import name_photos
from samrot.data.storage import find_place, join, read_bytes
from samrot.drawing.overlays import panel
from samrot.drawing.pose_sheets import contact_sheet
from samrot.errors import InputError, check_choice, check_range
from samrot.files import json_list, write_pieces
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.runtime.records import FAILED, Record, RecordStore
from samrot.runtime.runner import Job, run_job
from samrot.wording import counted

WRITES = ("none", "exif", "pixels")
COPIES = "photos"
LARGEST_SHEET = 60  # photos


@dataclass(kw_only=True)
class UprightSettings(PhotoRunSettings):
    """Settings of ``samrot upright``, besides which photos and where it runs.

    Args:
        out: run folder of the table, of corrected copies, and of what undoes changes in place; one
            that exists with the same settings is continued.
        canonicalizer: which canonicalizer.
        write: none writes a table alone; exif sets the orientation tag, and leaves every other byte
            as it is; pixels turns the pixels without loss, and sets the tag to upright.
        in_place: change the photos themselves, instead of copies below out.
        recompress: with write pixels, compress anew where it cannot be done without loss.
        min_confidence: photos whose pose is less probable are left alone, and listed.
        undo: undo.jsonl of an earlier run in place, whose changes are taken back; nothing else is
            done.
    """

    out: str | None = None
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    write: str = WRITES[0]
    in_place: bool = False
    recompress: bool = False
    min_confidence: float = 0.8
    undo: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("write", self.write, WRITES)
        check_range("min_confidence", self.min_confidence, 0, 1)
        if self.undo is not None:
            if self.images or self.out is not None or self.write != "none":
                raise InputError("undo takes back an earlier run; leave the other options out")
            return
        if self.out is None or not self.images:
            raise InputError(
                "out or images is not given; expected photos, and a folder to write to"
            )
        if self.in_place and self.write == "none":
            raise InputError("in_place is set, but write is none; choose write exif or pixels")
        if self.in_place and self.executor == "ray":
            raise InputError("in_place is set, but executor is ray; choose executor processes")
        if self.recompress and self.write != "pixels":
            raise InputError(f"recompress is set, but write is {self.write}; it is for pixels")


@dataclass(frozen=True)
class UprightReport:
    """What became of the photos.

    Args:
        counts: number of photos by action, see ``UprightPhoto``.
        failed: path of a photo that failed -> why.
    """

    counts: dict[str, int]
    failed: dict[str, str]


def upright(settings: UprightSettings) -> UprightReport:
    """Run, or continue, the correction of photos; several processes share the work.

    Photos that cannot be read or written are passed over, and tried again by the same command.

    Raises:
        InputError: if the settings are off, before any photo is looked at.
        OSError: if the disk is full; what is done stays done.
    """
    assert settings.out is not None
    out = Path(settings.out)
    root = join(results_root(settings, settings.out), COPIES)
    photos = name_photos(settings.images, [out, results_root(settings, settings.out)])
    if settings.in_place and not all(isinstance(place, Path) for place in photos.values()):
        raise InputError("in_place is set, but some images are URIs; leave it out, for copies")
    digest = names_digest(photos)

    def build(device: str, rank: int) -> UprightWorker:
        return UprightWorker(
            root, settings.canonicalizer, device, settings.write, settings.recompress,
            settings.min_confidence, UndoLog(out, rank) if settings.in_place else None,
        )  # fmt: skip

    def summarise(worker: Any, records: RecordStore, folder: Path) -> dict[str, Any]:
        if settings.in_place:
            RecordStore(folder, None, id_key="image", name=Path(UNDO).stem).merge()
        return {"names": digest, **_write_tables(records, folder)}

    summary = run_job(
        Job(
            name="upright",
            unit="image",
            settings=settings,
            items={name: PhotoItem(name, place) for name, place in photos.items()},
            id_key=NAME,
            build=build,
            is_whole=lambda summary: summary["names"] == digest and not summary["failed"],
            summarise=summarise,
            input_files={"canonicalizer.name": settings.canonicalizer.name},
            executor=settings.executor,
        )
    )
    return UprightReport(summary["counts"], summary["failed"])


def _panel(row: UprightPhoto) -> Any:
    """A photo that was left alone: as it is displayed, and as the pose would have it."""
    place = find_place(row.image)
    image = read_image(row.image, content=read_bytes(place))
    assert row.pose is not None
    transform = PlaneTransform.to_canonical(Pose(row.pose), (image.shape[0], image.shape[1]))
    name = row.image.rpartition("/")[2]
    return panel([image, transform.image(image)], f"{name} {row.probability:.2f}")


def _write_tables(records: Iterable[Record], out: Path) -> dict[str, Any]:
    """The table of all photos, a contact sheet of some, and what of them the summary says."""
    counts: Counter[str] = Counter()
    failed: dict[str, str] = {}
    panels: list[np.ndarray] = []

    def rows() -> Iterator[UprightPhoto]:
        for record in records:
            if FAILED in record:
                yield UprightPhoto(record["image"], reason=record[FAILED])
            else:
                yield UprightPhoto(**{k: v for k, v in record.items() if k != NAME})

    for row in rows():
        counts[row.action] += 1
        if row.reason is not None:
            failed[row.image] = row.reason
        if row.action == "unsure" and len(panels) < LARGEST_SHEET:
            panels.append(_panel(row))
    if panels:
        contact_sheet(panels, out / "unsure.png")
    write_pieces(out / "upright.json", json_list(asdict(row) for row in rows()))
    write_pieces(out / "upright.csv", _csv_lines(rows()))
    return {"counts": dict(counts), "failed": failed}


def _csv_lines(rows: Iterable[UprightPhoto]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.DictWriter(line, list(asdict(UprightPhoto(""))), lineterminator="\n")
    writer.writeheader()
    yield line.getvalue()
    for row in rows:
        line.seek(0)
        line.truncate()
        writer.writerow(asdict(row))
        yield line.getvalue()


def upright_table(report: UprightReport, settings: UprightSettings) -> str:
    """What became of the photos, for a person."""
    copies = "" if settings.in_place else f", as copies below {settings.results or settings.out}"
    said = {
        "upright": "upright already",
        "turn": "would be turned (--write exif or pixels does it)",
        "turned": f"turned{copies}",
        "unsure": f"left alone, their pose being less probable than {settings.min_confidence:g}",
        "failed": "failed",
    }
    counts = report.counts
    lines = [counted(sum(counts.values()), "photo")]
    return "\n".join(
        [*lines, *(f"  {counts[a]} {text}" for a, text in said.items() if a in counts)]
    )
