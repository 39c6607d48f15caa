"""The EXIF orientation tag of an image file, set without touching anything else of it."""

from __future__ import annotations

import struct
import zlib

from samrot.errors import InputError

_TAG, _SHORT = 0x0112, 3
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_EXIF_HEADER = b"Exif\0\0"
_LARGEST_SEGMENT = 0xFFFF - 2
# Segments of a JPEG that carry no length.
_BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}


def with_orientation(content: bytes, orientation: int) -> bytes:
    """An image file with another EXIF orientation.

    Where there is such a tag, its two bytes change, and nothing else. Where there is none, it is
    added; all that was there stays byte for byte.

    Args:
        content: a JPEG, TIFF or PNG file.
        orientation: 1..8.

    Raises:
        InputError: if the file is of another format, or damaged.
    """
    if orientation not in range(1, 9):
        raise InputError(f"orientation is {orientation!r}; expected 1 to 8")
    try:
        if content.startswith(_JPEG):
            return _in_jpeg(content, orientation)
        if content.startswith(_PNG):
            return _in_png(content, orientation)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _in_tiff(content, orientation)
    except (struct.error, IndexError) as error:
        raise InputError(f"its metadata is damaged ({error}); restore the file") from error
    raise InputError("its format has no orientation tag that can be set; convert it to JPEG or PNG")


def _in_tiff(tiff: bytes, orientation: int) -> bytes:
    """The tag in a TIFF structure, which EXIF is too."""
    order = "<" if tiff[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    entries = [tiff[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    if any(len(entry) < 12 for entry in entries):
        raise struct.error("a directory is cut off")
    new = struct.pack(f"{order}HHIHH", _TAG, _SHORT, 1, orientation, 0)
    tags = [struct.unpack_from(f"{order}H", entry)[0] for entry in entries]
    if _TAG in tags:
        at = start + 2 + 12 * tags.index(_TAG)
        kind, number = struct.unpack_from(f"{order}HI", tiff, at + 2)
        if (kind, number) != (_SHORT, 1):
            raise struct.error("the orientation is no number of two bytes")
        return tiff[: at + 8] + new[8:10] + tiff[at + 10 :]
    # A copy of the first directory with one entry more, at the end: offsets to all else hold.
    place = sum(tag < _TAG for tag in tags)
    entries.insert(place, new)
    following = tiff[start + 2 + 12 * count :][:4].ljust(4, b"\0")
    padded = tiff + b"\0" * (len(tiff) % 2)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + following
    header = tiff[:4] + struct.pack(f"{order}I", len(padded))
    return header + padded[8:] + directory


def _new_tiff(orientation: int) -> bytes:
    """EXIF that holds the orientation alone."""
    return _in_tiff(struct.pack(">2sHIHI", b"MM", 42, 8, 0, 0), orientation)


def _in_jpeg(jpeg: bytes, orientation: int) -> bytes:
    at = behind_header = 2
    while jpeg[at] == 0xFF and jpeg[at + 1] not in (0xDA, 0xD9):
        marker = jpeg[at + 1]
        if marker == 0xFF or marker in _BARE_MARKERS:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        body = jpeg[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(_EXIF_HEADER):
            tiff = _in_tiff(body[len(_EXIF_HEADER) :], orientation)
            return jpeg[:at] + _segment(tiff) + jpeg[at + 2 + length :]
        at += 2 + length
        if marker == 0xE0:  # JFIF comes first
            behind_header = at
    return jpeg[:behind_header] + _segment(_new_tiff(orientation)) + jpeg[behind_header:]


def _segment(tiff: bytes) -> bytes:
    body = _EXIF_HEADER + tiff
    if len(body) > _LARGEST_SEGMENT:
        raise InputError("its metadata leaves no room for an orientation tag")
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def _in_png(png: bytes, orientation: int) -> bytes:
    at = len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"eXIf":
            tiff = _in_tiff(png[at + 8 : at + 8 + length], orientation)
            return png[:at] + _chunk(tiff) + png[at + 12 + length :]
        if kind in (b"IDAT", b"IEND"):
            return png[:at] + _chunk(_new_tiff(orientation)) + png[at:]
        at += 12 + length


def _chunk(tiff: bytes) -> bytes:
    body = b"eXIf" + tiff
    return struct.pack(">I", len(tiff)) + body + struct.pack(">I", zlib.crc32(body))
