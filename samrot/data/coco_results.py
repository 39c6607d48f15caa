"""Detections in a JSON file of COCO results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samrot.data.coco import CocoDataset, read_json
from samrot.data.coco_checks import check_box, is_id, is_number
from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform, xywh_to_xyxy
from samrot.geometry.pose import Pose
from samrot.structures.detections import Detections


def read_coco_results(
    path: str | Path, dataset: CocoDataset, element: int
) -> dict[int, Detections]:
    """Detections by image id, in the order of the file.

    Args:
        path: path of the file, that of the setting ``prompts.file``.
        dataset: dataset of the images.
        element: element of D4 that moved the images that the file was made on.

    Raises:
        InputError: naming the entry, if it is no COCO result, or names an image or a category that
            the dataset does not list, or has a box that cannot be on its image.
    """
    records = read_json(path, "prompts.file")
    if not isinstance(records, list):
        raise InputError(f"prompts.file {path} is not a list; expected COCO results")
    categories = set(dataset.category_ids)
    grouped: dict[int, list[dict[str, Any]]] = {}
    for place, record in enumerate(records):
        where = f"prompts.file {path}: entry {place}"
        for key in ("image_id", "category_id", "bbox", "score"):
            if not isinstance(record, dict) or key not in record:
                raise InputError(f"{where} lacks {key!r}; expected COCO results")
        if not is_id(record["image_id"]) or record["image_id"] not in dataset.images:
            raise InputError(
                f"{where} is of image {record['image_id']!r}, which {dataset.source} does not "
                "list; the files do not belong together"
            )
        if not is_id(record["category_id"]) or record["category_id"] not in categories:
            raise InputError(
                f"{where} has category {record['category_id']!r}, which {dataset.source} does not "
                "list; give the ids of that file's categories, or drop the entry"
            )
        if not is_number(record["score"]):
            raise InputError(f"{where} has the score {record['score']!r}; expected a finite number")
        size_hw = dataset.size_hw(record["image_id"])
        moved_hw = PlaneTransform.from_pose(Pose(element), size_hw).target_hw
        check_box(record["bbox"], moved_hw, where)
        grouped.setdefault(record["image_id"], []).append(record)
    return {
        image_id: Detections(
            xywh_to_xyxy([record["bbox"] for record in of_image]),
            np.array([record["score"] for record in of_image]),
            np.array([record["category_id"] for record in of_image]),
        )
        for image_id, of_image in grouped.items()
    }
