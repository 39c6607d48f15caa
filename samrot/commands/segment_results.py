"""What ``samrot segment`` writes: a folder for each photo, and all of them in one COCO JSON."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from samrot.commands.bursts import BurstPose
from samrot.commands.photo_runs import NAME
from samrot.data.prompt_files import describe_prompt
from samrot.data.storage import Place, copy_file, join, remove_files, write_bytes
from samrot.drawing.overlays import DrawnObject, draw_overlay
from samrot.files import json_list, write_pieces
from samrot.geometry.plane import PlaneTransform
from samrot.runtime.records import FAILED, Record

INDEX_FILE = "index.json"
COCO_FILE = "annotations.json"
_PHOTO_FILE = "masks.json"
_OVERLAY = "overlay.png"
_CATEGORIES = [{"id": 1, "name": "object"}]


def result_folders(names: Iterable[str]) -> dict[str, str]:
    """Photo -> folder of its results: its name without the suffix, or with, if two share that.

    Args:
        names: paths of the photos, relative to the folder that was named.
    """
    stems = {name: str(PurePath(name).with_suffix("")) for name in names}
    # Some file systems take a.png and A.jpg for names of one folder.
    shared = Counter(text.casefold() for pair in stems.items() for text in set(pair))
    return {name: stem if shared[stem.casefold()] == 1 else name for name, stem in stems.items()}


def remove_result(folder: Place) -> None:
    """Remove an earlier result; its JSON first, which says that all is there."""
    remove_files(folder, _PHOTO_FILE, _OVERLAY, "mask_*.png")


def write_result(
    folder: Place,
    image: np.ndarray,
    objects: Sequence[DrawnObject],
    about: dict[str, Any],
    written: PlaneTransform,
    upright: PlaneTransform,
) -> dict[str, Any]:
    """Masks, a picture, and the JSON, last: where it is, all is there.

    Args:
        folder: folder of the photo's results.
        image, objects: photo and objects as displayed.
        about: the photo, in the JSON.
        written: from the displayed photo to that of the masks.
        upright: from the displayed photo to the upright one.

    Returns:
        The content of the JSON.
    """
    records = []
    for number, item in enumerate(objects):
        rle = written.rle(item.rle)
        mask = coco_mask.decode(rle)
        file_name = f"mask_{number:03d}.png"
        write_bytes(join(folder, file_name), _png(mask * np.uint8(255)))
        records.append(
            {
                "file": file_name,
                "score": item.score,
                "area": int(mask.sum()),
                "bbox": coco_mask.toBbox(rle).tolist(),
                "segmentation": rle,
                "prompt": None if item.prompt is None else describe_prompt(item.prompt),
            }
        )
    write_bytes(join(folder, _OVERLAY), _png(draw_overlay(image, objects, upright)))
    height, width = written.target_hw
    content = {**about, "height": height, "width": width, "objects": records}
    write_bytes(join(folder, _PHOTO_FILE), json.dumps(content, allow_nan=False).encode())
    return content


def _png(image: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()


def write_dataset(out: Path, root: Place, records: Iterable[Record]) -> dict[str, Any]:
    """All results as one COCO JSON, and an index of the photos, from the records, one at a time.

    Args:
        out: run folder.
        root: folder of the photos' results, which gets a copy, if it is another.
        records: of all photos, ascending by name; read several times.

    Returns:
        Numbers of photos and objects, the photos that failed or whose pose is uncertain, and the
        poses of bursts.
    """

    def done() -> Iterator[Record]:
        return (record for record in records if FAILED not in record)

    failed = {record["image"]: record[FAILED] for record in records if FAILED in record}
    uncertain = {
        record["image"]: record["pose_confidence"] for record in done() if record["pose_uncertain"]
    }
    numbers = {"photos": 0, "objects": 0}
    poses_of_bursts: set[BurstPose] = set()

    def images() -> Iterator[dict[str, Any]]:
        for number, record in enumerate(done(), start=1):
            numbers["photos"] = number
            size = {"height": record["height"], "width": record["width"]}
            yield {"id": number, "file_name": record[NAME], **size}

    def annotations() -> Iterator[dict[str, Any]]:
        for image_id, record in enumerate(done(), start=1):
            for found in record["objects"]:
                numbers["objects"] += 1
                yield {
                    "id": numbers["objects"],
                    "image_id": image_id,
                    "category_id": 1,
                    **{key: found[key] for key in ("segmentation", "area", "bbox", "score")},
                    "iscrowd": 0,
                }

    def index() -> Iterator[dict[str, Any]]:
        for record in done():
            if "burst" in record:
                poses_of_bursts.add(BurstPose.of_record(record))
            about = {key: value for key, value in record.items() if key not in (NAME, "objects")}
            yield {"file_name": record[NAME], **about, "objects": len(record["objects"])}

    write_pieces(
        out / COCO_FILE,
        chain(
            ['{"images": '], json_list(images()),
            [', "annotations": '], json_list(annotations()),
            [', "categories": ', json.dumps(_CATEGORIES), "}"],
        ),
    )  # fmt: skip
    write_pieces(
        out / INDEX_FILE,
        chain(['{"photos": '], json_list(index()), [', "failed": ', json.dumps(failed), "}"]),
    )
    if root != out:
        for name in (COCO_FILE, INDEX_FILE):
            copy_file(out / name, join(root, name))
    sorted_poses = sorted(poses_of_bursts, key=lambda pose: (pose.folder, pose.photos))
    bursts = [vars(pose) for pose in sorted_poses]
    return {**numbers, "failed": failed, "uncertain": uncertain, "bursts": bursts}
