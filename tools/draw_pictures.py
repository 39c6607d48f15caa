"""Draw the pictures of docs/conventions.md and docs/gallery.md, of a procedural scene.

python tools/draw_pictures.py docs/pictures [--only NAME ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

import samrot
from samrot.data.scenes import draw_scene
from samrot.drawing.overlays import DrawnObject, draw_objects, in_rows, panel
from samrot.geometry import exact
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform, xywh_to_xyxy
from samrot.geometry.pose import element_exif
from samrot.geometry.rle import encode_mask
from samrot.robust.frames import find_frame
from samrot.robust.pipeline import Pipeline
from samrot.segmenters import Segmenter
from samrot.structures.prompts import Prompts

SEED = 11
TILT_DEG = 30.0
QUALITY = 85  # of the JPEG files


class Photo(NamedTuple):
    """A photo, and the box of each object on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (B, 4) XYXY, pixels.
    """

    image: np.ndarray
    boxes: np.ndarray

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.image.shape[:2]
        return height, width

    def moved(self, transform: PlaneTransform) -> Photo:
        """The same photo in another frame."""
        return Photo(transform.image(self.image), transform.boxes(self.boxes))


def read_scene(count: int = 4) -> Photo:
    """An upright scene and its largest objects."""
    scene = draw_scene(np.random.default_rng(SEED), (360, 480))
    largest = np.argsort(-scene.masks.sum(axis=(1, 2)))[:count]
    boxes = [coco_mask.toBbox(encode_mask(mask)) for mask in scene.masks[largest]]
    return Photo(scene.image, xywh_to_xyxy(boxes))


def objects_of(masks: np.ndarray, prompts: Prompts | None = None) -> list[DrawnObject]:
    """(B, H, W) bool masks, and the B prompts that asked for them, for drawing."""
    return [
        DrawnObject(encode_mask(mask), prompt=prompts and prompts[n : n + 1])
        for n, mask in enumerate(masks)
    ]


def draw_symmetries(scene: Photo, segmenter: Segmenter) -> np.ndarray:
    """The scene as each element of D4 shows it, with its name and its EXIF orientation."""
    panels = [
        panel(
            [exact.move_image(scene.image, element)],
            f"{D4.names[element]}   (element {element}, EXIF {element_exif(element)})",
        )
        for element in range(D4.order)
    ]
    return in_rows(panels, 4)


def draw_way(photo: Photo, segmenter: Segmenter, canonicalizer: str, tilt: str) -> np.ndarray:
    """The four stations of a photo with boxes, as of ``samrot.RobustPredictor``."""
    frame = find_frame(photo.image, samrot.load_canonicalizer(canonicalizer), tilt=tilt)
    pipeline, prompts = Pipeline(segmenter), Prompts(boxes_xyxy=photo.boxes)
    (encoded,) = pipeline.encode([photo.image], [frame])
    result = pipeline.decode(encoded, prompts, multimask_output=False, return_logits=False)
    masks = result.masks[:, 0].cpu().numpy()
    canonical = frame.canonical_prompts(prompts)
    inside, pose = frame.transform.masks(masks), frame.pose
    found = f"pose {D4.names[pose.element]}"
    if pose.tilt_deg:
        found += f", tilt {pose.tilt_deg:.0f}"
    upright = frame.canonical_image(photo.image)
    stations = (
        ("1. the photo, with boxes", photo.image, np.zeros_like(masks), prompts),
        (f"2. canonical photo ({found})", upright, np.zeros_like(inside), canonical),
        ("3. segmented there", upright, inside, canonical),
        ("4. masks moved back", photo.image, masks, prompts),
    )
    panels = [
        panel([draw_objects(shown, objects_of(those, asked))], label)
        for label, shown, those, asked in stations
    ]
    return in_rows(panels, len(panels))


def draw_turned(scene: Photo, segmenter: Segmenter) -> np.ndarray:
    """The way of a photo that is turned by a quarter: exact."""
    turn = PlaneTransform.from_pose(samrot.Pose(1), scene.size_hw)
    return draw_way(scene.moved(turn), segmenter, "c4", "quarter")


def draw_tilted(scene: Photo, segmenter: Segmenter) -> np.ndarray:
    """The way of a photo that is tilted: one warp to the canonical canvas, and one back."""
    tilt = PlaneTransform.from_pose(samrot.Pose(0, TILT_DEG), scene.size_hw, "expand")
    return draw_way(scene.moved(tilt), segmenter, "so2", "full")


def draw_rotated_boxes(scene: Photo, segmenter: Segmenter) -> np.ndarray:
    """Objects of a tilted photo by their rotated boxes, and by the hulls of those."""
    transform = PlaneTransform.from_pose(samrot.Pose(0, TILT_DEG), scene.size_hw)
    photo = transform.image(scene.image)
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    centres = transform.points((scene.boxes[:, 2:] + scene.boxes[:, :2]) / 2)
    angles = np.full((len(sides), 1), TILT_DEG)
    rotated = np.concatenate([centres, sides, angles], axis=1)
    hulls = transform.boxes(scene.boxes, how="hull")
    predictor = samrot.RobustPredictor(segmenter, None)
    predictor.set_image(photo)
    panels = []
    for label, prompts in (
        ("upright boxes around them", Prompts(boxes_xyxy=hulls)),
        ("rotated boxes", Prompts(rotated_boxes=rotated)),
    ):
        masks = predictor.predict_prompts(prompts).masks[:, 0].cpu().numpy()
        panels.append(panel([draw_objects(photo, objects_of(masks, prompts))], label, cell=420))
    return in_rows(panels, len(panels))


def draw_everything(scene: Photo, segmenter: Segmenter) -> np.ndarray:
    """All that is found without prompts, on the scene upright and upside down."""
    panels = []
    for label, canonicalizer in (("plain", None), ("robust", "c4")):
        generator = samrot.RobustMaskGenerator(
            segmenter, canonicalizer=canonicalizer, points_per_side=12
        )
        for element in (0, 2):
            photo = exact.move_image(scene.image, element)
            records = generator.generate(photo)
            masks = np.array([record["segmentation"] for record in records], dtype=bool)
            masks = masks.reshape(-1, *photo.shape[:2])
            text = f"{label}, {D4.names[element]} degrees: {len(masks)} masks"
            panels.append(panel([draw_objects(photo, objects_of(masks))], text))
    return in_rows(panels, len(panels))


PICTURES: dict[str, Callable[[Photo, Segmenter], np.ndarray]] = {
    "symmetries": draw_symmetries,
    "turned": draw_turned,
    "tilted": draw_tilted,
    "rotated_boxes": draw_rotated_boxes,
    "everything": draw_everything,
}


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    scene, segmenter = read_scene(), samrot.load_segmenter("sam_mini")
    for name in options.only:
        picture = PICTURES[name](scene, segmenter)
        Image.fromarray(picture).save(options.out / f"{name}.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
