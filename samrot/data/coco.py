"""A COCO-format dataset, validated on loading."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samrot.data.coco_checks import check_content
from samrot.data.images import read_image
from samrot.errors import InputError, MissingFileError
from samrot.geometry.rle import RLE


@dataclass(kw_only=True)
class DataSettings:
    """A COCO-format dataset.

    Args:
        images: folder of the photos.
        annotations: COCO JSON.
    """

    images: str
    annotations: str

    def load(self) -> CocoDataset:
        """The dataset, checked."""
        return CocoDataset.load(self.images, self.annotations)


@dataclass(frozen=True)
class CocoDataset:
    """Images and annotations in COCO format; build it with ``load``.

    Args:
        image_folder: what ``file_name`` is relative to.
        content: the parsed JSON; what may be missing is filled in.
        source: where it came from, for messages.
    """

    image_folder: Path
    content: dict[str, Any]
    source: str

    @classmethod
    def load(cls, image_folder: str | Path, annotations: str | Path) -> CocoDataset:
        """Read and check a COCO JSON file.

        Raises:
            MissingFileError: if the folder or the file does not exist.
            InputError: if the file is not JSON or not COCO, see ``check_content``.
        """
        image_folder, annotations = Path(image_folder), Path(annotations)
        if not image_folder.is_dir():
            raise MissingFileError(f"data.images {image_folder} does not exist; expected a folder")
        content = read_json(annotations, "data.annotations")
        check_content(content, str(annotations))
        dataset = cls(image_folder, content, str(annotations))
        dataset._fill_in()
        return dataset

    @cached_property
    def images(self) -> dict[int, dict[str, Any]]:
        """Image id -> image record."""
        return {image["id"]: image for image in self.content["images"]}

    @property
    def image_ids(self) -> list[int]:
        """Ids in ascending order."""
        return sorted(self.images)

    @property
    def category_ids(self) -> list[int]:
        """Ids in ascending order."""
        return sorted(category["id"] for category in self.content["categories"])

    @cached_property
    def annotations_by_image(self) -> dict[int, list[dict[str, Any]]]:
        """Image id -> its annotation records in the order of their ids, crowds included."""
        grouped: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in self.images}
        for annotation in sorted(self.content["annotations"], key=lambda a: a["id"]):
            grouped[annotation["image_id"]].append(annotation)
        return grouped

    def instances(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of an image that are prompted: no crowds, none of zero area."""
        return [
            annotation
            for annotation in self.annotations_by_image[image_id]
            if not annotation.get("iscrowd", 0)
            and annotation["area"] > 0
            and min(annotation["bbox"][2:]) > 0
        ]

    def image_path(self, image_id: int) -> Path:
        """Path of an image file."""
        return self.image_folder / self.images[image_id]["file_name"]

    def check_photos(self, image_ids: Sequence[int]) -> None:
        """Refuse photos that are not there.

        Raises:
            MissingFileError: naming the first.
        """
        for image_id in image_ids:
            path = self.image_path(image_id)
            if not path.is_file():
                raise MissingFileError(
                    f"image {path} does not exist, but {self.source} lists it; restore the file, "
                    "or remove the image from the JSON"
                )

    def size_hw(self, image_id: int) -> tuple[int, int]:
        """(height, width) as recorded."""
        record = self.images[image_id]
        return record["height"], record["width"]

    def read(self, image_id: int) -> np.ndarray:
        """The photo in the stored frame, (H, W, 3) uint8 RGB.

        Raises:
            MissingFileError, InputError: if it is missing or damaged, or not of the recorded size.
        """
        path = self.image_path(image_id)
        image = read_image(path, apply_exif=False)
        if image.shape[:2] != self.size_hw(image_id):
            height, width = self.size_hw(image_id)
            raise InputError(
                f"image {path} is {image.shape[0]}x{image.shape[1]} (height x width), but "
                f"{self.source} records {height}x{width}; the two do not belong together"
            )
        return image

    def rle(self, annotation: dict[str, Any]) -> RLE:
        """The mask of an annotation, polygons or any RLE, as compressed RLE."""
        segmentation = annotation["segmentation"]
        height, width = self.size_hw(annotation["image_id"])
        if isinstance(segmentation, list):
            merged: RLE = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
            return merged
        if isinstance(segmentation["counts"], list):
            encoded: RLE = coco_mask.frPyObjects(segmentation, height, width)
            return encoded
        return RLE(size=segmentation["size"], counts=segmentation["counts"])

    def annotations_as_rle(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of an image, crowds included, their masks as compressed RLE."""
        return [
            {**annotation, "segmentation": self.rle(annotation)}
            for annotation in self.annotations_by_image[image_id]
        ]

    def mask(self, annotation: dict[str, Any]) -> np.ndarray:
        """The mask of an annotation, (H, W) bool."""
        return coco_mask.decode(self.rle(annotation)).astype(bool)

    def _fill_in(self) -> None:
        """Give annotations what many tools leave out, and say so."""
        annotations = self.content["annotations"]
        without_crowd = [a for a in annotations if "iscrowd" not in a]
        without_area = [a for a in annotations if "area" not in a]
        for annotation in without_crowd:
            annotation["iscrowd"] = 0
        for annotation in without_area:
            annotation["area"] = float(coco_mask.area(self.rle(annotation)))
        for name, filled, value in (
            ("iscrowd", without_crowd, "0"),
            ("area", without_area, "that of the mask"),
        ):
            if filled:
                warnings.warn(
                    f"{self.source}: {len(filled)} of {len(annotations)} annotations have no "
                    f"{name}; it is taken to be {value}",
                    stacklevel=3,
                )


def merge_datasets(datasets: Sequence[CocoDataset]) -> CocoDataset:
    """Several datasets as one; with more than one, ids are numbered anew, categories kept apart."""
    if len(datasets) == 1:
        return datasets[0]
    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    for dataset in datasets:
        new = {
            kind: {record["id"]: len(content[kind]) + n for n, record in enumerate(records, 1)}
            for kind, records in dataset.content.items()
            if kind in content
        }
        for image in dataset.content["images"]:
            path = str((dataset.image_folder / image["file_name"]).resolve())
            content["images"].append({**image, "id": new["images"][image["id"]], "file_name": path})
        for annotation in dataset.content["annotations"]:
            content["annotations"].append(
                {
                    **annotation,
                    "id": new["annotations"][annotation["id"]],
                    "image_id": new["images"][annotation["image_id"]],
                    "category_id": new["categories"][annotation["category_id"]],
                }
            )
        for category in dataset.content["categories"]:
            content["categories"].append({**category, "id": new["categories"][category["id"]]})
    # Absolute file names: the folder does not count.
    return CocoDataset(Path("/"), content, ", ".join(dataset.source for dataset in datasets))


def read_json(path: str | Path, name: str) -> Any:
    """Parse a JSON file.

    Raises:
        MissingFileError, InputError: naming the setting, the file and the place of the fault.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{name} {path} does not exist; expected a JSON file")
    try:
        return json.loads(path.read_text(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} {path} is not JSON ({error}); restore the file") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number")


def find_coco(folder: Path) -> tuple[Path, Path]:
    """The photos and the annotations of a COCO dataset somewhere in a folder.

    Looks for an instance JSON in the folder, below it, or in ``annotations`` beside it, whose
    photos are there.

    Raises:
        InputError: if there is none, or more than one.
    """
    candidates = sorted({*folder.rglob("*.json"), *folder.parent.glob("annotations/*.json")})
    datasets = []
    for path in candidates:
        for images in (folder, folder / "images", folder / path.stem.removeprefix("instances_")):
            try:
                dataset = CocoDataset.load(images, path)
            except InputError:
                continue
            if all(dataset.image_path(image_id).is_file() for image_id in dataset.image_ids):
                datasets.append((images, path))
                break
    if len(datasets) != 1:
        shown = ", ".join(str(path) for _, path in datasets) or "none"
        raise InputError(
            f"data {folder} should hold one COCO dataset (a .json and its photos); found: {shown}; "
            "use samrot evaluate with --data.images and --data.annotations"
        )
    return datasets[0]
