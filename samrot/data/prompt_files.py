"""Objects to segment, from the command line or a file: boxes, clicked points, or both."""

from __future__ import annotations

import csv
import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samrot.data.coco import read_json
from samrot.errors import InputError, MissingFileError
from samrot.structures.prompts import Prompts
from samrot.wording import counted

CSV_COLUMNS = ("image", "x0", "y0", "x1", "y1", "x", "y", "label", "object")
BOX_NUMBERS = 4
ROTATED_NUMBERS = 5
JSON_KEYS = ("box", "rotated_box", "points", "labels")


def object_prompt(
    box: Sequence[float] | None = None,
    points: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    rotated_box: Sequence[float] | None = None,
) -> Prompts:
    """What points at one object: prompts with B = 1, in pixels of the photo.

    Args:
        box: XYXY, or None.
        points: (x, y) each.
        labels: labels of the points, 1 in the object, 0 outside.
        rotated_box: (cx, cy, w, h, angle_deg) instead of box, or None.

    Raises:
        InputError: if nothing points at it, or the numbers do not fit together.
    """
    if box is None and rotated_box is None and not points:
        raise InputError("an object has neither box nor points; give at least one of them")
    if box is not None and len(box) != 4:
        raise InputError(f"box {list(box)} has {len(box)} numbers; expected 4")
    if rotated_box is not None and len(rotated_box) != ROTATED_NUMBERS:
        raise InputError(
            f"rotated_box {list(rotated_box)} has {len(rotated_box)} numbers; expected 5: cx, cy, "
            "w, h, angle"
        )
    for point in points:
        if len(point) != 2:
            raise InputError(f"point {list(point)} has {len(point)} numbers; expected 2")
    numbers = [*(box or ()), *(rotated_box or ()), *(x for point in points for x in point)]
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"an object has the coordinates {numbers}; expected finite numbers")
    for label in labels:
        if label not in (0, 1):
            raise InputError(f"label {label} is unknown; expected 1 (in the object) or 0")
    if len(labels) != len(points):
        raise InputError(
            f"labels are {len(labels)} for {counted(len(points), 'point')}; expected one each"
        )
    return Prompts(
        boxes_xyxy=None if box is None else np.array([box], dtype=np.float64),
        point_coords=np.array([points], dtype=np.float64) if points else None,
        point_labels=np.array([labels]) if points else None,
        rotated_boxes=None if rotated_box is None else np.array([rotated_box], dtype=np.float64),
    )


def describe_prompt(prompt: Prompts) -> dict[str, Any]:
    """A prompt of one object as a JSON prompt file has it: ``box``, ``points`` and ``labels``.

    And ``rotated_box``, where it has one.
    """
    boxes, points, labels = prompt.boxes_xyxy, prompt.point_coords, prompt.point_labels
    rotated = prompt.rotated_boxes
    return {
        **({} if rotated is None else {"rotated_box": rotated[0].tolist()}),
        "box": None if boxes is None else boxes[0].tolist(),
        "points": [] if points is None else points[0].tolist(),
        "labels": [] if labels is None else labels[0].tolist(),
    }


def prompts_from_numbers(
    boxes: Sequence[float],
    points: Sequence[float],
    labels: Sequence[int],
    rotated_boxes: Sequence[float] = (),
) -> list[Prompts]:
    """Boxes, and after them rotated boxes, are an object each; all points together are one more.

    Raises:
        InputError: if the numbers do not make boxes and points.
    """
    if len(boxes) % BOX_NUMBERS or len(points) % 2:
        raise InputError(
            f"box has {len(boxes)} and point {len(points)} numbers; expected x0 y0 x1 y1 for each "
            "box and x y for each point"
        )
    if len(rotated_boxes) % ROTATED_NUMBERS:
        raise InputError(
            f"rotated_box has {len(rotated_boxes)} numbers; expected cx cy w h angle for each"
        )
    prompts = [object_prompt(boxes[i : i + BOX_NUMBERS]) for i in range(0, len(boxes), BOX_NUMBERS)]
    prompts += [
        object_prompt(rotated_box=rotated_boxes[i : i + ROTATED_NUMBERS])
        for i in range(0, len(rotated_boxes), ROTATED_NUMBERS)
    ]
    if points or labels:
        pairs = [points[i : i + 2] for i in range(0, len(points), 2)]
        prompts.append(object_prompt(None, pairs, labels or [1] * len(pairs)))
    return prompts


def read_prompts(path: str | Path) -> dict[str, list[Prompts]]:
    """Prompts of several photos, by file name.

    CSV: a header, and a row for each box (``image,x0,y0,x1,y1``) or point (``image,x,y,label``);
    rows of one photo with the same ``object`` belong together. JSON: file name to a list of
    objects, each with ``box`` or ``rotated_box``, ``points`` and ``labels``, or some of them.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is neither, or something in it is off; the message says where.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"prompts {path} does not exist; expected a .csv or .json file")
    readers = {".csv": _read_csv, ".json": _read_json}
    if path.suffix.lower() not in readers:
        raise InputError(f"prompts {path} ends in {path.suffix!r}; expected .csv or .json")
    try:
        return readers[path.suffix.lower()](path)
    except (UnicodeDecodeError, RecursionError, csv.Error) as error:
        raise InputError(f"prompts {path} cannot be read ({error}); restore the file") from error


def _read_csv(path: Path) -> dict[str, list[Prompts]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        unknown = sorted(set(columns) - set(CSV_COLUMNS))
        if "image" not in columns or unknown:
            raise InputError(
                f"prompts {path} has the columns {', '.join(columns) or 'none'}; expected image "
                f"and some of {', '.join(CSV_COLUMNS[1:])}"
            )
        objects: dict[tuple[str, str], dict[str, list[Any]]] = {}
        for row in reader:
            number = reader.line_num
            if None in row or not row["image"]:
                raise InputError(
                    f"prompts {path}, line {number}: expected an image and at most "
                    f"{len(columns)} cells"
                )
            key = (row["image"], row.get("object") or f"row {number}")
            parts = objects.setdefault(key, {"box": [], "points": [], "labels": []})
            try:
                if box := _numbers(row, ("x0", "y0", "x1", "y1")):
                    parts["box"].append(box)
                if point := _numbers(row, ("x", "y")):
                    parts["points"].append(point)
                    parts["labels"].append(int(row.get("label") or 1))
                elif row.get("label"):
                    raise ValueError("a label without x and y")
            except ValueError as error:
                raise InputError(f"prompts {path}, line {number}: {error}") from error
    prompts: dict[str, list[Prompts]] = {}
    for (image, name), parts in objects.items():
        if len(parts["box"]) > 1:
            raise InputError(f"prompts {path}: object {name} of {image} has two boxes; give one")
        box = parts["box"][0] if parts["box"] else None
        prompt = _prompt(box, parts["points"], parts["labels"], f"prompts {path}, {image}, {name}")
        prompts.setdefault(image, []).append(prompt)
    return prompts


def _numbers(row: Mapping[str, str | None], columns: Sequence[str]) -> list[float] | None:
    """The numbers in some columns, all or none of them."""
    cells = [row.get(column) or "" for column in columns]
    if not any(cells):
        return None
    if not all(cells):
        raise ValueError(f"{dict(zip(columns, cells, strict=True))}; expected all of them or none")
    return [float(cell) for cell in cells]


def _read_json(path: Path) -> dict[str, list[Prompts]]:
    content = read_json(path, "prompts")
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise InputError(
            f"prompts {path} holds a {type(content).__name__}; expected an object that maps file "
            "names to lists of objects with box, points, labels"
        )
    prompts: dict[str, list[Prompts]] = {}
    for image, listed in content.items():
        prompts[image] = []
        for number, entry in enumerate(listed):
            where = f"prompts {path}, {image}, object {number}"
            if not isinstance(entry, dict) or set(entry) - set(JSON_KEYS):
                raise InputError(f"{where} is {entry}; expected some of {', '.join(JSON_KEYS)}")
            box, points, labels = (entry.get(key) for key in ("box", "points", "labels"))
            prompt = _prompt(box, points, labels, where, entry.get("rotated_box"))
            prompts[image].append(prompt)
    return prompts


def _floats(numbers: Any) -> tuple[float, ...]:
    if isinstance(numbers, str) or any(isinstance(n, bool | str) for n in numbers):
        raise TypeError(f"{numbers!r} is no list of numbers")
    return tuple(float(n) for n in numbers)


def _prompt(box: Any, points: Any, labels: Any, where: str, rotated: Any = None) -> Prompts:
    try:
        pairs = tuple(_floats(point) for point in points or ())
        return object_prompt(
            None if box is None else _floats(box),
            pairs,
            (1,) * len(pairs) if labels is None else tuple(operator.index(n) for n in labels),
            None if rotated is None else _floats(rotated),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: {error}") from error
