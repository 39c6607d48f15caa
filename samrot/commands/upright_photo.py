"""One photo of ``samrot upright``: its pose estimated, its tag set or its pixels turned."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from PIL import Image, ImageOps

from samrot.canonicalizers import CanonicalizerChoice
from samrot.commands.photo_runs import NAME, PhotoItem, ReadPhoto, read_ahead
from samrot.commands.upright_undo import UndoLog
from samrot.data.images import exif_orientation
from samrot.data.orientation_tag import with_orientation
from samrot.data.storage import Place, join, write_bytes
from samrot.errors import InputError
from samrot.files import is_disk_full
from samrot.geometry.groups import D4
from samrot.geometry.pose import element_exif, exif_element
from samrot.runtime.records import Record

# Formats that Pillow writes without loss; a JPEG is turned by jpegtran.
_LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}}
# Element of D4 that moves the pixels -> arguments of jpegtran.
_JPEGTRAN: dict[int, tuple[str, ...]] = {
    1: ("-rotate", "270"), 2: ("-rotate", "180"), 3: ("-rotate", "90"),
    4: ("-flip", "horizontal"), 5: ("-transpose",), 6: ("-flip", "vertical"), 7: ("-transverse",),
}  # fmt: skip
PIXELS_PER_BIN = 2  # of the shorter side of a photo, for each of a thumbnail
_PILLOW = {
    1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270,
    4: Image.Transpose.FLIP_LEFT_RIGHT, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.FLIP_TOP_BOTTOM, 7: Image.Transpose.TRANSVERSE,
}  # fmt: skip


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


class UprightWorker:
    """Estimates poses of photos, and corrects the photos; see ``Worker``.

    Args:
        root: folder of corrected copies.
        canonicalizer: which canonicalizer.
        device: device of the canonicalizer.
        write: none, exif or pixels.
        recompress: compress anew where pixels cannot be turned without loss.
        min_confidence: photos whose pose is less probable are left alone.
        undo: log of changes to the photos themselves; None makes copies.

    Raises:
        InputError: if the canonicalizer cannot be loaded.
    """

    def __init__(
        self,
        root: Place,
        canonicalizer: CanonicalizerChoice,
        device: str,
        write: str,
        recompress: bool,
        min_confidence: float,
        undo: UndoLog | None,
    ) -> None:
        self.root = root
        self.canonicalizer: Any = canonicalizer.load(device)
        self.write = write
        self.recompress = recompress
        self.min_confidence = min_confidence
        self.undo = undo

    def run(self, items: Sequence[PhotoItem], write: Callable[[Record], None]) -> None:
        """See ``Worker.run``."""
        if self.undo is not None:
            self.undo.open()
        enough = PIXELS_PER_BIN * self.canonicalizer.thumbnail.size
        for item, photo in read_ahead(items, enough):
            try:
                if isinstance(photo, InputError):
                    raise photo
                row = self._interrupted(item, photo) or self._put_upright(item, photo)
                write({NAME: item.name, **asdict(row)})
            except InputError as error:
                write(item.failure(str(error)))
            except OSError as error:
                if is_disk_full(error) or not isinstance(self._target(item), Path):
                    raise  # no other photo would fare better
                write(item.failure(f"{error.strerror or error}"))

    def close(self) -> None:
        """Let the canonicalizer go."""
        self.canonicalizer = None

    def _target(self, item: PhotoItem) -> Place:
        return join(self.root, item.name) if self.undo is None else item.place

    def _interrupted(self, item: PhotoItem, photo: ReadPhoto) -> UprightPhoto | None:
        """What a run that was killed did to a photo in place, and had no time to record."""
        noted = None if self.undo is None else self.undo.what_made(item.place, photo.content)
        return None if noted is None else UprightPhoto(**noted)

    def _put_upright(self, item: PhotoItem, photo: ReadPhoto) -> UprightPhoto:
        pose = self.canonicalizer.estimate(photo.image)
        before = exif_orientation(str(item.place), content=photo.content)
        # stored = tag x displayed, and displayed = pose x upright.
        stored = D4.compose(exif_element(before), pose.element)
        after = element_exif(stored)
        row = UprightPhoto(str(item.place), pose.element, pose.confidence, before, after)
        if pose.confidence < self.min_confidence:
            return replace(row, exif_after=before, action="unsure")
        if pose.element == 0 and (self.write != "pixels" or stored == 0):
            return replace(row, action="upright")
        if self.write == "none":
            return replace(row, action="turn")
        row = replace(row, action="turned")
        if self.write == "exif":
            changed = with_orientation(photo.content, after)
        else:
            name = PurePath(str(item.place)).name
            changed = _turned(name, photo.content, pose.element, stored, self.recompress)
            row = replace(row, exif_after=1)
        if self.undo is not None:
            self.undo.note(item.name, item.place, photo.content, changed, asdict(row))
        write_bytes(self._target(item), changed, like=item.place)
        return row


def _turned(name: str, content: bytes, pose: int, stored: int, recompress: bool) -> bytes:
    """The file with upright pixels, and the tag that says so.

    Args:
        name: name of the photo, for messages.
        content: content of the file.
        pose: element of D4 that moved the photo as it is displayed.
        stored: element of D4 that moved it as it is stored.
        recompress: compress anew, if it cannot be done without loss.
    """
    with Image.open(io.BytesIO(content)) as image:
        kind = str(image.format)
        if kind == "JPEG" and not recompress:
            return with_orientation(_by_jpegtran(name, content, D4.inverse(stored)), 1)
        if kind not in _LOSSLESS and not recompress:
            raise InputError(
                f"{name} is {kind}, which cannot be turned without loss; set the tag (write "
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


def _by_jpegtran(name: str, content: bytes, element: int) -> bytes:
    program = shutil.which("jpegtran")
    if program is None:
        raise InputError(
            f"{name} is a JPEG, and jpegtran, which turns it without loss, is not installed; "
            "install it (libjpeg-turbo), set the tag (write exif), or add recompress"
        )
    arguments = [program, "-perfect", "-copy", "all", *_JPEGTRAN[element]]
    done = subprocess.run(arguments, input=content, capture_output=True, check=False)
    if done.returncode:
        raise InputError(
            f"{name} cannot be turned without loss ({done.stderr.decode().strip()}); set the "
            "tag (write exif), or add recompress"
        )
    return done.stdout
