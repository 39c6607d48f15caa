"""A COCO-format dataset, validated on loading."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samrot.data.coco_checks import check_annotations, check_records
from samrot.data.images import image_size, read_image
from samrot.errors import InputError, MissingFileError, check_choice
from samrot.geometry.rle import RLE, decode_mask

FRAMES = ("stored", "displayed")  # what annotations may be in


@dataclass(kw_only=True)
class DataSettings:
    """A COCO-format dataset.

    Args:
        images: folder of the photos.
        annotations: COCO JSON.
        frame: frame that the annotations are in: stored (the pixels of the files), or displayed
            (EXIF orientation applied, as viewers and labelling tools show the photos).
    """

    images: str
    annotations: str
    frame: str = FRAMES[0]

    def load(self) -> CocoDataset:
        """The dataset, checked."""
        return CocoDataset.load(self.images, self.annotations, self.frame)


@dataclass(frozen=True)
class CocoDataset:
    """Images and annotations in COCO format; build it with ``load``.

    Args:
        image_folder: what ``file_name`` is relative to.
        content: the parsed JSON; what may be missing is filled in.
        source: where it came from, for messages.
        frame: one of ``FRAMES``, that of the annotations, in which photos are read.
    """

    image_folder: Path
    content: dict[str, Any]
    source: str
    frame: str = FRAMES[0]

    @classmethod
    def load(
        cls, image_folder: str | Path, annotations: str | Path, frame: str = FRAMES[0]
    ) -> CocoDataset:
        """Read and check a COCO JSON file; what it may lack is filled in, with a warning.

        Raises:
            MissingFileError: if the folder or the file does not exist.
            InputError: if the file is not JSON or not COCO, see ``coco_checks``.
        """
        check_choice("data.frame", frame, FRAMES)
        image_folder, annotations = Path(image_folder), Path(annotations)
        if not image_folder.is_dir():
            raise MissingFileError(f"data.images {image_folder} does not exist; expected a folder")
        content = read_json(annotations, "data.annotations")
        check_records(content, str(annotations))
        dataset = cls(image_folder, content, str(annotations), frame)
        dataset._fill_in_sizes()
        check_annotations(content, str(annotations))
        dataset._fill_in_annotations()
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
    def has_masks(self) -> bool:
        """Whether all annotations have masks; else only boxes are prompted and scored."""
        return all("segmentation" in annotation for annotation in self.content["annotations"])

    @cached_property
    def annotations_by_image(self) -> dict[int, list[dict[str, Any]]]:
        """Image id -> its annotation records in the order of their ids, crowds included."""
        grouped: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in self.images}
        for annotation in sorted(self.content["annotations"], key=lambda a: a["id"]):
            grouped[annotation["image_id"]].append(annotation)
        return grouped

    def part(self, image_ids: Collection[int]) -> CocoDataset:
        """Some of the images, with their annotations."""
        content = {
            **self.content,
            "images": [self.images[image_id] for image_id in image_ids],
            "annotations": [a for i in image_ids for a in self.annotations_by_image[i]],
        }
        return replace(self, content=content)

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
        """The photo in the frame of the annotations, (H, W, 3) uint8 RGB.

        Raises:
            MissingFileError, InputError: if it is missing or damaged, or not of the recorded size.
        """
        path, displayed = self.image_path(image_id), self.frame == "displayed"
        image = read_image(path, apply_exif=displayed)
        height, width = self.size_hw(image_id)
        if image.shape[:2] != (height, width):
            remedy = "the two do not belong together"
            if image_size(path, apply_exif=not displayed) == (height, width):
                other = FRAMES[displayed - 1]
                remedy = (
                    f"its EXIF orientation is the cause: {self.source} is about the photos as "
                    f"they are {other}; set data.frame to {other}"
                )
            raise InputError(
                f"image {path} is {image.shape[0]}x{image.shape[1]} (height x width), but "
                f"{self.source} records {height}x{width}; {remedy}"
            )
        return image

    def rle(self, annotation: dict[str, Any]) -> RLE:
        """The mask of an annotation, polygons or any RLE, as compressed RLE.

        Raises:
            InputError: if it has none.
        """
        if "segmentation" not in annotation:
            raise InputError(
                f"{self.source}: annotation {annotation['id']} has no segmentation; expected the "
                "masks of all objects"
            )
        segmentation = annotation["segmentation"]
        height, width = self.size_hw(annotation["image_id"])
        if isinstance(segmentation, list):
            merged: RLE = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
            return merged
        if isinstance(segmentation["counts"], list):
            encoded: RLE = coco_mask.frPyObjects(segmentation, height, width)
            return encoded
        return RLE(size=segmentation["size"], counts=segmentation["counts"])

    def outline(self, annotation: dict[str, Any]) -> np.ndarray:
        """(P, 2) float64 points, (x, y) in pixels, whose hull holds the mask of an annotation.

        The points of its polygons; of an RLE, the outer corners of the pixels of each row.

        Raises:
            InputError: if it has no mask.
        """
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, list):
            return np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
        mask = decode_mask(self.rle(annotation))
        rows = np.flatnonzero(mask.any(axis=1))
        first, last = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
        corners = [(x, y) for x in (first, last) for y in (rows, rows + 1)]
        return np.concatenate([np.stack(pair, axis=1) for pair in corners]).astype(np.float64)

    def annotations_as_rle(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of an image, crowds included; masks, if any, as compressed RLE."""
        return [
            {**a, "segmentation": self.rle(a)} if "segmentation" in a else a
            for a in self.annotations_by_image[image_id]
        ]

    def mask(self, annotation: dict[str, Any]) -> np.ndarray:
        """The mask of an annotation, (H, W) bool."""
        return coco_mask.decode(self.rle(annotation)).astype(bool)

    def _fill_in_sizes(self) -> None:
        """Give images the size that they lack, from the photo."""
        images = self.content["images"]
        without_size = [image for image in images if not {"height", "width"} <= image.keys()]
        for image in without_size:
            image["height"], image["width"] = image_size(
                self.image_folder / image["file_name"], apply_exif=self.frame == "displayed"
            )
        self._say("images", without_size, "no height and width", "they are those of the photos")

    def _fill_in_annotations(self) -> None:
        """Give annotations what many tools leave out."""
        annotations = self.content["annotations"]
        without_mask = [a for a in annotations if "segmentation" not in a]
        without_crowd = [a for a in annotations if "iscrowd" not in a]
        without_area = [a for a in annotations if "area" not in a]
        for annotation in without_crowd:
            annotation["iscrowd"] = 0
        for annotation in without_area:
            width, height = annotation["bbox"][2:]
            has_mask = "segmentation" in annotation
            area = coco_mask.area(self.rle(annotation)) if has_mask else width * height
            annotation["area"] = float(area)
        says = partial(self._say, "annotations")
        says(without_mask, "no segmentation", "boxes are prompted and scored, masks are not")
        says(without_crowd, "no iscrowd", "it is taken to be 0")
        says(without_area, "no area", "it is taken to be that of the mask, or else of the box")

    def _say(self, key: str, filled: list[Any], lacking: str, remedy: str) -> None:
        if filled:
            total = len(self.content[key])
            warnings.warn(
                f"{self.source}: {len(filled)} of {total} {key} have {lacking}; {remedy}",
                stacklevel=4,
            )


def merge_datasets(datasets: Sequence[CocoDataset]) -> CocoDataset:
    """Several datasets of one frame as one: ids are numbered anew, categories kept apart."""
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
    sources = ", ".join(dataset.source for dataset in datasets)
    return CocoDataset(Path("/"), content, sources, datasets[0].frame)


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
    photos are in the folder, beside the JSON, in ``images``, or in a folder that the JSON is called
    after (``instances_val2017.json``, ``val2017``), there or in ``images``.

    Raises:
        InputError: if there is none, or more than one.
    """
    candidates = sorted({*folder.rglob("*.json"), *folder.parent.glob("annotations/*.json")})
    datasets = []
    for path in candidates:
        name = path.stem.removeprefix("instances_")
        places = (folder, path.parent)
        ends = ("", "images", name, f"images/{name}")
        for images in dict.fromkeys(place / end for place in places for end in ends):
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
