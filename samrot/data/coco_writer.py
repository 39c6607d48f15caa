"""Writing COCO datasets: procedural scenes, and datasets turned by quarter turns."""

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
from samrot.geometry import actions
from samrot.scoring import encode_mask


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


def write_rotated(dataset: CocoDataset, folder: str | Path, angle: int) -> None:
    """Write a dataset turned counter-clockwise: ``images/`` (lossless PNG), ``annotations.json``.

    Masks become RLEs, turned exactly; boxes and areas are carried over. Every other field of the
    JSON is kept, and images keep their names but for the suffix.

    Args:
        dataset: upright.
        folder: new; it appears whole or not at all.
        angle: 0, 90, 180 or 270 degrees.
    """
    turns = angle // 90
    content = copy.deepcopy(dataset.content)
    names = {image["id"]: _png_name(image["file_name"]) for image in content["images"]}
    if len(set(names.values())) < len(names):
        raise InputError(
            f"{dataset.source}: two images differ in their suffix only, and both would become the "
            "same .png; rename one"
        )
    with _whole_folder(folder) as partial:
        for image in tqdm(content["images"], desc=f"turning by {angle}", unit="image"):
            turned = actions.rotate_image(dataset.read(image["id"]), turns)
            path = partial / "images" / names[image["id"]]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(turned).save(path)
            image["file_name"] = names[image["id"]]
            image["height"], image["width"] = turned.shape[:2]
        for annotation in content["annotations"]:
            _turn_annotation(annotation, dataset, turns)
        (partial / "annotations.json").write_text(json.dumps(content))


def _turn_annotation(annotation: dict[str, Any], dataset: CocoDataset, turns: int) -> None:
    size_hw = dataset.size_hw(annotation["image_id"])
    x, y, w, h = annotation["bbox"]
    box = actions.rotate_boxes(np.array([x, y, x + w, y + h]), turns, size_hw)
    annotation["bbox"] = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
    rle = dataset.rle(annotation)
    if isinstance(rle["counts"], bytes):
        rle = {**rle, "counts": rle["counts"].decode("ascii")}  # type: ignore[typeddict-item]
    annotation["segmentation"] = actions.rotate_rle(rle, turns)


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
