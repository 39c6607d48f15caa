"""Reading photos strictly: what cannot be decoded whole is refused, not patched up."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from samrot.errors import InputError, MissingFileError
from samrot.geometry import exact
from samrot.geometry.pose import exif_element
from samrot.wording import counted

_HEIF_SUFFIXES = (".heic", ".heif")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", *_HEIF_SUFFIXES,
)  # fmt: skip
_UNREAD_SUFFIXES = (
    ".arw", ".cr2", ".cr3", ".dng", ".gif", ".hif", ".jp2", ".jxl", ".nef", ".orf", ".raf", ".rw2",
)  # fmt: skip
# What Pillow may open, whatever a file is called: of the others, some run programs (EPS).
# JPEG opens MPO too.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
_EXIF_ORIENTATION = 0x0112
_HEIF_ORIENTATION = "original_orientation"  # in what pillow-heif says of a photo
# What Pillow raises on files that are damaged.
_DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, RuntimeError, struct.error, zlib.error),
    *(ArithmeticError, AttributeError, LookupError, MemoryError, TypeError),
)


def read_image(
    path: str | Path,
    *,
    apply_exif: bool | None = True,
    content: bytes | None = None,
    enough: int | None = None,
) -> np.ndarray:
    """Read a photo as contiguous (H, W, 3) uint8 RGB.

    Grey is repeated, alpha is dropped, 16 bits and floats are scaled to 8 bits.

    Args:
        path: path of an image file.
        apply_exif: turn the photo as its EXIF orientation says (how viewers show it). COCO
            annotations are in the stored frame, so datasets read with False, and a photo that has
            an orientation then draws a warning; None reads the stored frame and says nothing.
        content: bytes of the file, if they were read already; the path is for messages then.
        enough: pixels that suffice for the shorter side: a JPEG that has twice as many, or more, is
            decoded at a half, a quarter or an eighth of its size, which is faster. None: all.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is not an image, or truncated.
    """
    with _opened(path, content) as stored:
        orientation = _orientation(stored)
        if enough is not None:
            scale = min(1.0, enough / min(stored.size))
            stored.draft(None, (math.ceil(stored.width * scale), math.ceil(stored.height * scale)))
        if orientation != 1 and apply_exif is False:
            warnings.warn(
                f"{PurePath(path).name}: EXIF orientation {orientation} is ignored, since COCO "
                "annotations are in the stored frame",
                stacklevel=2,
            )
        if apply_exif:
            return _to_rgb8(ImageOps.exif_transpose(stored))
        pixels = _to_rgb8(stored)
        moved = exif_element(orientation) if _is_turned_on_decoding(stored) else 0
        return exact.move_image(pixels, moved)


def exif_orientation(path: str | Path, *, content: bytes | None = None) -> int:
    """The EXIF orientation of a photo, 1..8; 1 (as stored) where there is none.

    Args:
        path: path of an image file.
        content: bytes of the file, if they were read already; the path is for messages then.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is not an image.
    """
    with _opened(path, content) as stored:
        return _orientation(stored)


def image_size(path: str | Path, *, apply_exif: bool) -> tuple[int, int]:
    """(height, width) of a photo as stored, or as displayed, without decoding it.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is not an image.
    """
    with _opened(path) as stored:
        element = exif_element(_orientation(stored))
        is_displayed = _is_turned_on_decoding(stored)
        size_hw = (stored.height, stored.width)
    if apply_exif == is_displayed:
        return size_hw
    return exact.move_size(size_hw, element)


def _is_turned_on_decoding(stored: Image.Image) -> bool:
    """Whether the decoder itself turns photos as their orientation says."""
    return stored.format == "TIFF" or _HEIF_ORIENTATION in stored.info


def _orientation(stored: Image.Image) -> int:
    return int(stored.info.get(_HEIF_ORIENTATION) or stored.getexif().get(_EXIF_ORIENTATION, 1))


@contextmanager
def _opened(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """An image file; what goes wrong with it in the block is an ``InputError`` that names it."""
    if content is None and not Path(path).is_file():
        raise MissingFileError(f"image {path} does not exist; expected an image file")
    if PurePath(path).suffix.lower() in _HEIF_SUFFIXES:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise InputError(
                f"image {path} is HEIF, but pillow-heif is not installed; pip install "
                "'samrot[heif]'"
            ) from error
        register_heif_opener()
    try:
        Image.init()  # registers what this Pillow reads
        readable = [name for name in FORMATS if name in Image.OPEN]
        file = path if content is None else io.BytesIO(content)
        with Image.open(file, formats=readable) as stored:
            yield stored
    except Image.DecompressionBombError as error:
        raise InputError(
            f"image {path} is too large ({error}); scale it down, or cut it into parts"
        ) from error
    except _DAMAGED as error:
        reason = "it is of no such kind" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(
            f"image {path} cannot be decoded ({reason}); it is truncated, or no "
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}: restore or remove the file"
        ) from error


def _to_rgb8(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image, dtype=np.float64)
        # Floats are shares of white, or 0..255; whole numbers have 16 bits.
        highest = 65535.0 if image.mode.startswith("I") else 1.0 if levels.max() <= 1 else 255.0
        if not (levels.min() >= 0 and levels.max() <= highest):  # NaN is refused too
            raise ValueError(
                f"its pixels reach from {levels.min():g} to {levels.max():g}; expected 16-bit "
                "numbers, or floats from 0 to 1 or 0 to 255"
            )
        grey = np.rint(levels * (255.0 / highest)).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
    return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8))


def list_images(folder: str | Path) -> list[Path]:
    """The image files in a folder and below, linked folders too, sorted by path.

    Raises:
        MissingFileError: if there is no such folder.
        InputError: if it holds no image, or a folder in it cannot be read.
    """
    if folder == "" or not Path(folder).is_dir():  # Path("") is the current folder
        name = folder or "''"
        raise MissingFileError(f"image folder {name} does not exist; expected a folder of photos")
    folder = Path(folder)

    def refuse(error: OSError) -> None:
        raise InputError(
            f"image folder {error.filename} cannot be read ({error.strerror}); make it readable, "
            "or leave it out"
        ) from error

    paths, unread, seen = [], [], set()
    for place, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link to a folder above
            subfolders.clear()
            continue
        seen.add(real)
        files = [Path(place) / name for name in names]
        paths += [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        unread += [p.name for p in files if p.suffix.lower() in _UNREAD_SUFFIXES]
    paths.sort()
    if unread:
        shown = sorted(unread)[:5] + ["..."] * (len(unread) > 5)
        warnings.warn(
            f"image folder {folder}: {counted(len(unread), 'photo')} of kinds that samrot does not "
            f"read, left out ({', '.join(shown)}); save them as JPEG or PNG",
            stacklevel=2,
        )
    if not paths:
        raise InputError(
            f"image folder {folder} holds no image; expected files ending in "
            + ", ".join(IMAGE_SUFFIXES)
        )
    return paths
