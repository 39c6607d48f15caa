"""What ``samrot segment`` writes: a folder for each photo, and all of them in one COCO JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from samrot.data.prompt_files import describe_prompt
from samrot.drawing.overlays import DrawnObject, draw_overlay
from samrot.files import write_text
from samrot.geometry.plane import PlaneTransform

INDEX_FILE = "index.json"
COCO_FILE = "annotations.json"
_PHOTO_FILE = "masks.json"


def result_folders(names: Iterable[str]) -> dict[str, str]:
    """Photo -> folder of its results: its name without the suffix, or with, if two share that.

    Args:
        names: paths of the photos, relative to the folder that was named.
    """
    stems = {name: str(PurePath(name).with_suffix("")) for name in names}
    # Some file systems take a.png and A.jpg for names of one folder.
    shared = Counter(stem.casefold() for stem in stems.values())
    return {name: stem if shared[stem.casefold()] == 1 else name for name, stem in stems.items()}


def remove_result(folder: Path) -> None:
    """Remove an earlier result; its JSON first, which says that all is there."""
    for path in (folder / _PHOTO_FILE, folder / "overlay.png", *folder.glob("mask_*.png")):
        path.unlink(missing_ok=True)


def write_result(
    folder: Path,
    image: np.ndarray,
    objects: Sequence[DrawnObject],
    about: dict[str, Any],
    written: PlaneTransform,
    upright: PlaneTransform,
) -> None:
    """Masks, a picture, and the JSON, last: where it is, all is there.

    Args:
        folder: folder of the photo's results.
        image, objects: photo and objects as displayed.
        about: the photo, in the JSON.
        written: from the displayed photo to that of the masks.
        upright: from the displayed photo to the upright one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, item in enumerate(objects):
        rle = written.rle(item.rle)
        mask = coco_mask.decode(rle)
        file_name = f"mask_{number:03d}.png"
        Image.fromarray(mask * np.uint8(255)).save(folder / file_name)
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
    Image.fromarray(draw_overlay(image, objects, upright)).save(folder / "overlay.png")
    height, width = written.target_hw
    _write_json(
        folder / _PHOTO_FILE, {**about, "height": height, "width": width, "objects": records}
    )


def write_dataset(out: Path, folders: dict[str, str], failed: dict[str, str]) -> None:
    """All results as one COCO JSON, and an index of the photos.

    Args:
        out: folder of the results.
        folders: photo that was segmented -> folder of its results in ``out``.
        failed: photo that was not -> why.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    index: list[dict[str, Any]] = []
    for image_id, (name, folder) in enumerate(folders.items(), start=1):
        content = json.loads((out / folder / _PHOTO_FILE).read_text())
        objects = content.pop("objects")
        index.append({"file_name": name, "folder": folder, **content, "objects": len(objects)})
        size = {"height": content["height"], "width": content["width"]}
        images.append({"id": image_id, "file_name": name, **size})
        for found in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    **{key: found[key] for key in ("segmentation", "area", "bbox", "score")},
                    "iscrowd": 0,
                }
            )
    _write_json(
        out / COCO_FILE,
        {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "object"}],
        },
    )
    _write_json(out / INDEX_FILE, {"photos": index, "failed": failed})


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, allow_nan=False))
