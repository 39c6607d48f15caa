"""Writing COCO datasets: procedural scenes, and datasets turned and mirrored."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from samrot.data.coco import CocoDataset
from samrot.data.scene_objects import CATEGORIES
from samrot.data.scenes import draw_scene
from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform, xywh_to_xyxy
from samrot.geometry.pose import Pose
from samrot.geometry.rle import RLE, encode_mask


def write_scenes(folder: str | Path, count: int, seed: int) -> None:
    """Write ``count`` procedural scenes: ``images/*.png`` and ``annotations.json``.

    Args:
        folder: new; it appears whole or not at all.
        count: number of scenes.
        seed: the same seed gives the same files.
    """
    with _whole_folder(folder) as partial:
        (partial / "images").mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id in tqdm(range(1, count + 1), desc="drawing scenes", unit="image"):
            scene = draw_scene(np.random.default_rng([seed, image_id]))
            name = f"scene_{image_id:04d}.png"
            Image.fromarray(scene.image).save(partial / "images" / name)
            height, width = scene.image.shape[:2]
            images.append({"id": image_id, "file_name": name, "height": height, "width": width})
            for mask, category_id in zip(scene.masks, scene.category_ids, strict=True):
                rle = encode_mask(mask)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": int(category_id),
                        "segmentation": rle,
                        "area": float(coco_mask.area(rle)),
                        "bbox": [float(side) for side in coco_mask.toBbox(rle)],
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i, "name": c.name} for i, c in enumerate(CATEGORIES, start=1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (partial / "annotations.json").write_text(json.dumps(content))


def write_moved(dataset: CocoDataset, folder: str | Path, element: int) -> None:
    """Write a dataset turned and mirrored: ``images/`` (lossless PNG), ``annotations.json``.

    Polygons stay polygons, whose corners are moved; RLEs are moved exactly; boxes are moved, and
    areas carried over. Every other field of the JSON is kept (``info``, ``licenses``, ...), and
    images keep their names but for the suffix.

    Args:
        dataset: upright.
        folder: new; it appears whole or not at all.
        element: element of D4.
    """
    content = copy.deepcopy(dataset.content)
    names = {image["id"]: _png_name(image["file_name"]) for image in content["images"]}
    if len(set(names.values())) < len(names):
        raise InputError(
            f"{dataset.source}: two images differ in their suffix only, and both would become the "
            "same .png; rename one"
        )
    transforms = {
        image["id"]: PlaneTransform.from_pose(Pose(element), dataset.size_hw(image["id"]))
        for image in content["images"]
    }
    with _whole_folder(folder) as partial:
        for image in tqdm(content["images"], desc=Path(folder).name, unit="image"):
            moved = transforms[image["id"]].image(dataset.read(image["id"]))
            path = partial / "images" / names[image["id"]]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(moved).save(path)
            image["file_name"] = names[image["id"]]
            image["height"], image["width"] = moved.shape[:2]
        for annotation in content["annotations"]:
            _move_annotation(annotation, dataset, transforms[annotation["image_id"]])
        (partial / "annotations.json").write_text(json.dumps(content))


def _move_annotation(
    annotation: dict[str, Any], dataset: CocoDataset, transform: PlaneTransform
) -> None:
    (box,) = transform.boxes(xywh_to_xyxy(annotation["bbox"]))
    annotation["bbox"] = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
    segmentation = annotation.get("segmentation")
    if segmentation is None:
        return
    if isinstance(segmentation, list):
        annotation["segmentation"] = [
            transform.points(np.reshape(polygon, (-1, 2))).ravel().tolist()
            for polygon in segmentation
        ]
        return
    rle = dataset.rle(annotation)
    if isinstance(rle["counts"], bytes):
        rle = RLE(size=rle["size"], counts=rle["counts"].decode("ascii"))
    annotation["segmentation"] = transform.rle(rle)


def _png_name(file_name: str) -> str:
    return str(Path(file_name).with_suffix(".png"))


@contextmanager
def _whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill that takes its name only when it is finished."""
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"folder {folder} exists; choose a new one")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
