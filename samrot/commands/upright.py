"""``samrot upright``: photos put upright, by their orientation tag or by their pixels."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from samrot.canonicalizers import Canonicalizer, CanonicalizerChoice
from samrot.data.images import exif_orientation, read_image
from samrot.data.orientation_tag import with_orientation
from samrot.data.photos import name_photos
from samrot.drawing.overlays import panel, side_by_side
from samrot.drawing.pose_sheets import contact_sheet
from samrot.errors import InputError, MissingFileError, check_choice, check_range
from samrot.files import replacing, write_text
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, element_exif, exif_element
from samrot.runtime.locks import alone_in

WRITES = ("none", "exif", "pixels")
UNDO, ORIGINALS, COPIES = "undo.jsonl", "originals", "photos"
LARGEST_SHEET = 60  # photos
LARGEST_PATCH = 4096  # bytes; of a larger change the original is kept
# Formats that Pillow writes without loss; a JPEG is turned by jpegtran.
_LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}}
# Element of D4 that moves the pixels -> arguments of jpegtran.
_JPEGTRAN: dict[int, tuple[str, ...]] = {
    1: ("-rotate", "270"), 2: ("-rotate", "180"), 3: ("-rotate", "90"),
    4: ("-flip", "horizontal"), 5: ("-transpose",), 6: ("-flip", "vertical"), 7: ("-transverse",),
}  # fmt: skip
_PILLOW = {
    1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270,
    4: Image.Transpose.FLIP_LEFT_RIGHT, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.FLIP_TOP_BOTTOM, 7: Image.Transpose.TRANSVERSE,
}  # fmt: skip


@dataclass(kw_only=True)
class UprightSettings:
    """Settings of ``samrot upright``.

    Args:
        out: folder of the table, of corrected copies, and of what undoes changes in place.
        images: photos: files, folders (searched with their subfolders) and patterns.
        canonicalizer: which canonicalizer.
        write: none writes a table alone; exif sets the orientation tag, and leaves every other byte
            as it is; pixels turns the pixels without loss, and sets the tag to upright.
        in_place: change the photos themselves, instead of copies below out.
        recompress: with write pixels, compress anew where it cannot be done without loss.
        min_confidence: photos whose pose is less probable are left alone, and listed.
        undo: undo.jsonl of an earlier run in place, whose changes are taken back; nothing else is
            done.
        device: where the canonicalizer runs: cpu, cuda, cuda:1, mps, or auto.
    """

    out: str | None = None
    images: list[str] = field(default_factory=list)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    write: str = WRITES[0]
    in_place: bool = False
    recompress: bool = False
    min_confidence: float = 0.8
    undo: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
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
        if self.recompress and self.write != "pixels":
            raise InputError(f"recompress is set, but write is {self.write}; it is for pixels")


@dataclass(frozen=True)
class UprightPhoto:
    """What became of one photo.

    Args:
        image: path of the photo.
        pose: element of D4 that moved the photo, as it is displayed, from upright; None if failed.
        probability: probability of that pose.
        exif_before: orientation tag; 1 where there was none.
        exif_after: orientation tag that shows the photo upright.
        action: ``upright`` (it is), ``unsure`` (left alone), ``turn`` (would be), ``turned``, or
            ``failed``.
        reason: why it failed.
    """

    image: str
    pose: int | None = None
    probability: float | None = None
    exif_before: int | None = None
    exif_after: int | None = None
    action: str = "failed"
    reason: str | None = None


def upright(settings: UprightSettings) -> list[UprightPhoto]:
    """Put photos upright; those that cannot be read or written are passed over.

    Raises:
        InputError: if the settings are off, before any photo is looked at.
    """
    assert settings.out is not None
    out = Path(settings.out)
    photos = name_photos(settings.images, out)
    if settings.in_place and (out / UNDO).is_file():
        raise InputError(
            f"out {out} holds the undo file of an earlier run in place; choose another folder"
        )
    canonicalizer = settings.canonicalizer.load(settings.device)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[UprightPhoto] = []
    panels: list[np.ndarray] = []
    with alone_in(out):
        for name in tqdm(photos, desc="upright", unit="image"):
            row = _one(settings, canonicalizer, name, photos[name], out)
            rows.append(row)
            if row.action == "unsure" and len(panels) < LARGEST_SHEET:
                panels.append(_panel(photos[name], row))
        if panels:
            contact_sheet(panels, out / "unsure.png")
        _write_tables(rows, out)
    return rows


def _one(
    settings: UprightSettings, canonicalizer: Canonicalizer, name: str, path: Path, out: Path
) -> UprightPhoto:
    try:
        displayed = read_image(path)
        pose, before = canonicalizer.estimate(displayed), exif_orientation(path)
        # stored = tag x displayed, and displayed = pose x upright.
        stored = D4.compose(exif_element(before), pose.element)
        after = element_exif(stored)
        row = UprightPhoto(str(path), pose.element, pose.confidence, before, after)
        if pose.confidence < settings.min_confidence:
            return replace(row, exif_after=before, action="unsure")
        if pose.element == 0 and (settings.write != "pixels" or stored == 0):
            return replace(row, action="upright")
        if settings.write == "none":
            return replace(row, action="turn")
        content = path.read_bytes()
        if settings.write == "exif":
            changed = with_orientation(content, after)
        else:
            changed = _turned(path, content, pose.element, stored, settings.recompress)
            row = replace(row, exif_after=1)
        if settings.in_place:
            _note_undo(out, name, path, content, changed)
        target = path if settings.in_place else out / COPIES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(changed)
            shutil.copystat(path, partial)
        return replace(row, action="turned")
    except (InputError, OSError) as error:
        return UprightPhoto(str(path), reason=str(error))


def _turned(path: Path, content: bytes, pose: int, stored: int, recompress: bool) -> bytes:
    """The file with upright pixels, and the tag that says so.

    Args:
        path: path of the photo, for messages.
        content: content of the file.
        pose: element of D4 that moved the photo as it is displayed.
        stored: element of D4 that moved it as it is stored.
        recompress: compress anew, if it cannot be done without loss.
    """
    with Image.open(io.BytesIO(content)) as image:
        kind = str(image.format)
        if kind == "JPEG" and not recompress:
            return with_orientation(_by_jpegtran(path, content, D4.inverse(stored)), 1)
        if kind not in _LOSSLESS and not recompress:
            raise InputError(
                f"{path.name} is {kind}, which cannot be turned without loss; set the tag (write "
                "exif), or add recompress"
            )
        upright = ImageOps.exif_transpose(image)
        if pose:
            upright = upright.transpose(_PILLOW[D4.inverse(pose)])
        profile = image.info.get("icc_profile")
    written = io.BytesIO()
    options = _LOSSLESS.get(kind, {"quality": 95})
    upright.save(written, kind, exif=upright.getexif(), icc_profile=profile, **options)
    return written.getvalue()


def _by_jpegtran(path: Path, content: bytes, element: int) -> bytes:
    program = shutil.which("jpegtran")
    if program is None:
        raise InputError(
            f"{path.name} is a JPEG, and jpegtran, which turns it without loss, is not installed; "
            "install it (libjpeg-turbo), set the tag (write exif), or add recompress"
        )
    arguments = [program, "-perfect", "-copy", "all", *_JPEGTRAN[element]]
    done = subprocess.run(arguments, input=content, capture_output=True, check=False)
    if done.returncode:
        raise InputError(
            f"{path.name} cannot be turned without loss ({done.stderr.decode().strip()}); set the "
            "tag (write exif), or add recompress"
        )
    return done.stdout


def _note_undo(out: Path, name: str, path: Path, content: bytes, changed: bytes) -> None:
    """Keep what takes a change back, before it is made: the bytes that differ, or the original."""
    start = _first_difference(content, changed)
    end = _first_difference(content[start:][::-1], changed[start:][::-1])
    entry: dict[str, Any] = {
        "image": str(path.resolve()),
        "sha256_before": hashlib.sha256(content).hexdigest(),
        "sha256_after": hashlib.sha256(changed).hexdigest(),
    }
    removed = content[start : len(content) - end]
    if len(removed) > LARGEST_PATCH:
        kept = out / ORIGINALS / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as partial:
            partial.write_bytes(content)
            shutil.copystat(path, partial)
        entry["original"] = str(kept.resolve())
    else:
        length = len(changed) - start - end
        entry["patch"] = {"start": start, "length": length, "bytes": removed.hex()}
    with (out / UNDO).open("a") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _first_difference(one: bytes, other: bytes) -> int:
    """The place of the first byte that differs, or the length of the shorter one."""
    length = min(len(one), len(other))
    differs = np.frombuffer(one, np.uint8, length) != np.frombuffer(other, np.uint8, length)
    return int(differs.argmax()) if differs.any() else length


def undo(path: str | Path) -> tuple[int, dict[str, str]]:
    """Take back the changes of a run in place; photos that were changed since are left alone.

    Args:
        path: ``undo.jsonl`` of that run.

    Returns:
        How many photos were restored, and why others were not.

    Raises:
        InputError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"undo {path} does not exist; expected the {UNDO} of a run in place")
    restored, failed = 0, {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        image = Path(entry["image"])
        try:
            _restore(image, entry)
            restored += 1
        except (InputError, OSError) as error:
            failed[str(image)] = str(error)
    return restored, failed


def _restore(image: Path, entry: dict[str, Any]) -> None:
    present = image.read_bytes()
    digest = hashlib.sha256(present).hexdigest()
    if digest == entry["sha256_before"]:  # never changed, or restored already
        return
    if digest != entry["sha256_after"]:
        raise InputError("it was changed since; restore it by hand")
    if "original" in entry:
        original = Path(entry["original"]).read_bytes()
    else:
        patch = entry["patch"]
        rest = present[patch["start"] + patch["length"] :]
        original = present[: patch["start"]] + bytes.fromhex(patch["bytes"]) + rest
    if hashlib.sha256(original).hexdigest() != entry["sha256_before"]:
        raise InputError("what was kept of it is damaged; restore it by hand")
    with replacing(image) as partial:
        partial.write_bytes(original)
        shutil.copystat(image, partial)


def _panel(path: Path, row: UprightPhoto) -> Any:
    """A photo that was left alone: as it is displayed, and as the pose would have it."""
    image = read_image(path)
    assert row.pose is not None
    transform = PlaneTransform.to_canonical(Pose(row.pose), (image.shape[0], image.shape[1]))
    return panel(
        side_by_side([image, transform.image(image)]), f"{path.name} {row.probability:.2f}"
    )


def _write_tables(rows: list[UprightPhoto], out: Path) -> None:
    write_text(out / "upright.json", json.dumps([asdict(row) for row in rows], indent=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(UprightPhoto(""))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(out / "upright.csv", text.getvalue())


def upright_table(rows: list[UprightPhoto], settings: UprightSettings) -> str:
    """What became of the photos, for a person."""
    counts = Counter(row.action for row in rows)
    said = {
        "upright": "upright already",
        "turn": "would be turned (--write exif or pixels does it)",
        "turned": "turned",
        "unsure": f"left alone, their pose being less probable than {settings.min_confidence:g}",
        "failed": "failed",
    }
    lines = [f"{len(rows)} photos"]
    return "\n".join([*lines, *(f"  {counts[a]} {text}" for a, text in said.items() if counts[a])])
