"""What a COCO file must hold, checked before any work: one line that names the entry at fault."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samrot.errors import InputError

LARGEST = 1e6  # of any coordinate, pixels
SLACK = 1.0  # pixels that rounding may put a box beside its image
REQUIRED = {
    "images": ("id", "file_name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def check_records(content: Any, source: str) -> None:
    """Refuse what has not the lists and fields of COCO.

    Args:
        content: parsed JSON.
        source: where it came from, for messages.

    Raises:
        InputError: naming the first entry that is off.
    """
    for key in REQUIRED:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(
                f"{source} is not COCO: it has no list {key!r}; expected an object with "
                "images, annotations and categories"
            )
    if not content["images"]:
        raise InputError(f"{source} lists no images; expected at least one")
    for key, fields in REQUIRED.items():
        _check_fields(content[key], key, fields, source)
    for image in content["images"]:
        _check_image(image, source)


def check_annotations(content: dict[str, Any], source: str) -> None:
    """Refuse annotations that do not belong to their images and categories.

    Args:
        content: what ``check_records`` has passed; every image has a size.
        source: where it came from, for messages.

    Raises:
        InputError: naming the first entry that is off.
    """
    categories = {category["id"] for category in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    for annotation in content["annotations"]:
        where = f"{source}: annotation {annotation['id']}"
        if annotation["image_id"] not in images:
            raise InputError(
                f"{where} belongs to image {annotation['image_id']}, which is not listed; add the "
                "image or drop the annotation"
            )
        if annotation["category_id"] not in categories:
            raise InputError(
                f"{where} has category {annotation['category_id']}, which is not listed; add it to "
                "categories"
            )
        image = images[annotation["image_id"]]
        size_hw = (image["height"], image["width"])
        check_box(annotation["bbox"], size_hw, where)
        if not is_number(annotation.get("area", 0)) or annotation.get("area", 0) < 0:
            raise InputError(f"{where} has area {annotation['area']!r}; expected square pixels")
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise InputError(f"{where} has iscrowd {annotation['iscrowd']!r}; expected 0 or 1")
        if "segmentation" in annotation:
            _check_segmentation(annotation["segmentation"], size_hw, where)


def check_box(bbox: Any, size_hw: tuple[int, int], where: str) -> None:
    """Refuse a box that is not x, y, width, height of something on an image.

    Boxes may reach over the edges, and may be empty, as detectors and annotations have them.

    Args:
        bbox: box of an annotation or a detection.
        size_hw: (height, width) of the image.
        where: names the entry.

    Raises:
        InputError
    """
    expected = "expected x, y, width and height, pixels"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        raise InputError(f"{where} has the box {bbox!r}; {expected}, four finite numbers")
    x, y, width, height = bbox
    if width < 0 or height < 0:
        raise InputError(f"{where} has the box {bbox!r}, whose size is negative; {expected}")
    beside = (
        x > size_hw[1] + SLACK
        or y > size_hw[0] + SLACK
        or x + width < -SLACK
        or y + height < -SLACK
    )
    if beside:
        raise InputError(
            f"{where} has the box {bbox!r}, which lies beside its image of {size_hw[0]}x"
            f"{size_hw[1]} (height x width); {expected} of that image"
        )


def is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that pixels can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST**2  # false for NaN


def is_id(value: Any) -> bool:
    """Whether it is a whole number, as ids are."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_fields(records: Iterable[Any], key: str, fields: tuple[str, ...], source: str) -> None:
    seen = set()
    for record in records:
        for name in fields:
            if not isinstance(record, dict) or name not in record:
                shown = record.get("id") if isinstance(record, dict) else record
                raise InputError(f"{source} is not COCO: {key} entry {shown!r} lacks {name!r}")
        for name in ("id", "image_id", "category_id"):
            if name in fields and not is_id(record[name]):
                raise InputError(
                    f"{source}: {key} entry {record['id']!r} has the {name} {record[name]!r}; "
                    "expected a whole number"
                )
        if record["id"] in seen:
            raise InputError(f"{source}: {key} id {record['id']} occurs twice")
        seen.add(record["id"])


def _check_image(image: dict[str, Any], source: str) -> None:
    where = f"{source}: image {image['id']}"
    if not isinstance(image["file_name"], str):
        raise InputError(f"{where} has the file_name {image['file_name']!r}; expected text")
    name = Path(image["file_name"])
    if name.is_absolute() or ".." in name.parts or "\0" in image["file_name"]:
        raise InputError(
            f"{source}: file_name {image['file_name']!r} climbs out of the image folder; expected "
            "a path inside it"
        )
    for side in ("height", "width"):
        if side in image and not (is_id(image[side]) and 1 <= image[side] <= LARGEST):
            raise InputError(f"{where} has the {side} {image[side]!r}; expected a number of pixels")


def _check_segmentation(segmentation: Any, size_hw: tuple[int, int], where: str) -> None:
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if (
                not isinstance(polygon, list)
                or len(polygon) < 6
                or len(polygon) % 2
                or not all(is_number(x) and abs(x) <= LARGEST for x in polygon)
            ):
                shown = str(polygon)
                raise InputError(
                    f"{where} has the polygon {shown[:60]}; expected x and y, finite, of at least "
                    "three corners"
                )
        if not segmentation:
            raise InputError(f"{where} has an empty segmentation; expected polygons or an RLE")
        return
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise InputError(
            f"{where} has a segmentation of type {type(segmentation).__name__}; expected polygons, "
            "or an RLE with size and counts"
        )
    if segmentation["size"] != list(size_hw):
        raise InputError(
            f"{where} has an RLE of size {segmentation['size']!r}, but its image is "
            f"{list(size_hw)} (height, width); the two do not belong together"
        )
    length = _rle_length(segmentation["counts"])
    if length != size_hw[0] * size_hw[1]:
        raise InputError(
            f"{where} has an RLE of {'no' if length is None else length} pixels; expected "
            f"{size_hw[0] * size_hw[1]}, those of its image"
        )


def _rle_length(counts: Any) -> int | None:
    """Number of pixels that an RLE's runs add up to; None if they are no runs.

    Compressed counts hold 5 bits a character, the sixth says whether more follow, and from the
    third run on each is given as its difference to the one before the last.
    """
    if isinstance(counts, list):
        runs = counts if all(is_id(run) and run >= 0 for run in counts) else None
        return None if runs is None else sum(runs)
    if not isinstance(counts, str):
        return None
    runs, value, shift = [], 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # negative
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            return None
        runs.append(value)
        value, shift = 0, 0
    return None if shift else sum(runs)
