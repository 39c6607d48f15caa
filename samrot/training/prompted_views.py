"""Training views for promptable segmentation: photos or scenes, some instances, their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from samrot.data.coco import CocoDataset
from samrot.data.images import read_image
from samrot.data.scenes import draw_scene
from samrot.errors import InputError, check_range
from samrot.geometry.exact import move_image, move_masks
from samrot.training.pose_photos import epoch_order

Random = np.random.Generator


@dataclass(kw_only=True)
class ViewSettings:
    """Random views of photos and scenes.

    Args:
        scale: smallest and largest zoom, where 1 shows the longest side at ``full_size``.
        full_size: longest side, pixels, at zoom 1: the input side at inference.
        colour: strength of brightness, contrast, saturation and hue changes, 0..1.
        scene_share: share of procedural scenes among the views.
        paste: probability that instances cut out of another photo are pasted in.
        boxes_per_view: instances prompted per view, at most.
        box_jitter: deviation of box edges, in box sizes, on half of the boxes.
        point_share: share of views prompted by points instead of boxes.
        min_area: smaller remains of an instance are not prompted, square pixels of the view.
        quarter_turns: turn each view by a random quarter turn (C4 augmentation).
        distinct: number of different views, which then repeat; None for no end of them.
    """

    scale: tuple[float, float] = (0.7, 1.8)
    full_size: int = 512
    colour: float = 0.3
    scene_share: float = 0.35
    paste: float = 0.4
    boxes_per_view: int = 6
    box_jitter: float = 0.04
    point_share: float = 0.15
    min_area: int = 60
    quarter_turns: bool = False
    distinct: int | None = None

    def __post_init__(self) -> None:
        for name in ("colour", "scene_share", "paste", "point_share", "box_jitter"):
            check_range(f"views.{name}", getattr(self, name), 0, 1)
        for zoom in self.scale:
            check_range("views.scale", zoom, 0.01, 100)
        if self.scale[0] > self.scale[1]:
            raise InputError(f"views.scale is {tuple(self.scale)}; expected the smaller zoom first")
        check_range("views.full_size", self.full_size, 8, 1e5)
        check_range("views.boxes_per_view", self.boxes_per_view, 1)
        check_range("views.min_area", self.min_area, 1)
        if self.distinct is not None:
            check_range("views.distinct", self.distinct, 1)


class PromptedView(NamedTuple):
    """One training view; N instances, N may be 0.

    Args:
        image: (3, S, S) uint8, padded with black at the bottom and right.
        content_hw: what of the square is image.
        masks: (N, S / 2, S / 2) uint8, share of each 2 x 2 cell that is instance, 0..255.
        boxes_xyxy: (N, 4) float32, pixels of the view.
        points_xy: (N, 3, 2) float32.
        point_labels: (N, 3) int: 1 in the instance, 0 outside, -1 unused.
        by_points: prompt with the points instead of the boxes.
    """

    image: Tensor
    content_hw: tuple[int, int]
    masks: Tensor
    boxes_xyxy: Tensor
    points_xy: Tensor
    point_labels: Tensor
    by_points: bool


class PromptedViews(Dataset[PromptedView]):
    """An endless, repeatable stream of views; item n is a function of n and the seed alone.

    Args:
        dataset: photos with masks; None for scenes only.
        size: side of the square views, pixels.
        settings: random views.
        seed: seed of everything random.
    """

    def __init__(
        self, dataset: CocoDataset | None, size: int, settings: ViewSettings, *, seed: int = 0
    ) -> None:
        from samrot.data.albumentations import albumentations as A

        self.dataset, self.size, self.settings, self.seed = dataset, size, settings, seed
        strength = (1 - settings.colour, 1 + settings.colour)
        self.colours = A.Compose(
            [
                A.ColorJitter(strength, strength, strength, (-0.05, 0.05), p=0.8),
                A.ToGray(p=0.05),
                A.ImageCompression(quality_range=(50, 95), p=0.15),
            ]
        )
        self.photo_ids: list[int] = []
        self.photos: dict[int, np.ndarray] = {}
        if dataset is not None:
            self.photo_ids = [i for i in dataset.image_ids if dataset.instances(i)]
            for image_id in tqdm(self.photo_ids, desc="reading photos", unit="image"):
                self.photos[image_id] = read_image(dataset.image_path(image_id), apply_exif=False)

    def __getitem__(self, n: int) -> PromptedView:
        if self.settings.distinct is not None:
            n %= self.settings.distinct
        random = np.random.default_rng([self.seed, n])
        if not self.photo_ids or random.random() < self.settings.scene_share:
            scene = draw_scene(random)
            image, masks = scene.image, scene.masks.astype(np.uint8)
        else:
            epoch, position = divmod(n, len(self.photo_ids))
            order = epoch_order(self.seed, epoch, len(self.photo_ids))
            image, masks = self._photo(random, self.photo_ids[order[position]])
        image, masks = self._crop(random, image, masks)
        if self.photo_ids and random.random() < self.settings.paste:
            image, masks = self._paste(random, image, masks)
        if random.random() < 0.5:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
        if self.settings.quarter_turns:
            turns = int(random.integers(4))
            image, masks = move_image(image, turns), move_masks(masks, turns)
        self.colours.set_random_seed(int(random.integers(2**31)))
        image = self.colours(image=np.ascontiguousarray(image))["image"]
        return self._prompt(random, image, masks)

    def _photo(self, random: Random, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.dataset is not None
        instances = self.dataset.instances(image_id)
        most = 2 * self.settings.boxes_per_view
        chosen = random.permutation(len(instances))[:most]
        masks = [self.dataset.mask(instances[i]).astype(np.uint8) for i in chosen]
        return self.photos[image_id], np.stack(masks)

    def _crop(
        self, random: Random, image: np.ndarray, masks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Zoom, then cut a window of at most S x S that holds the middle of some instance."""
        height, width = image.shape[:2]
        zoom = float(np.exp(random.uniform(*np.log(self.settings.scale))))
        scale = zoom * self.settings.full_size / max(height, width)
        new_hw = max(8, round(height * scale)), max(8, round(width * scale))
        start = []
        anchor = masks[random.integers(len(masks))] if len(masks) else np.ones((height, width))
        for axis, new in enumerate(new_hw):
            occupied = np.flatnonzero(anchor.any(axis=1 - axis))
            middle = (occupied[0] + occupied[-1]) / 2 * scale if len(occupied) else new / 2
            wanted = middle - self.size / 2 + random.uniform(-0.35, 0.35) * self.size
            start.append(int(np.clip(wanted, 0, max(0, new - self.size))))
        window = np.s_[start[0] : start[0] + self.size, start[1] : start[1] + self.size]
        shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, new_hw[::-1], interpolation=shrink)[window]
        resized = [
            cv2.resize(mask * 255, new_hw[::-1], interpolation=shrink)[window] > 127
            for mask in masks
        ]
        cropped = np.array(resized, dtype=np.uint8).reshape(-1, *image.shape[:2])
        return image, cropped

    def _paste(
        self, random: Random, image: np.ndarray, masks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Paste up to two instances of another photo, which then occlude what they cover."""
        donor_id = self.photo_ids[random.integers(len(self.photo_ids))]
        donor, donor_masks = self._photo(random, donor_id)
        image, height, width = image.copy(), *image.shape[:2]
        for mask in donor_masks[:2]:
            x, y, w, h = cv2.boundingRect(mask)
            if w == 0:  # an annotation without a pixel
                continue
            scale = float(np.exp(random.uniform(np.log(0.6), np.log(1.6))))
            scale = min(scale, 0.7 * height / max(1, h), 0.7 * width / max(1, w))
            new_wh = max(4, round(w * scale)), max(4, round(h * scale))
            cutout = cv2.resize(donor[y : y + h, x : x + w], new_wh, interpolation=cv2.INTER_AREA)
            alpha = cv2.resize(
                mask[y : y + h, x : x + w].astype(np.float32), new_wh, interpolation=cv2.INTER_AREA
            )
            if min(height - new_wh[1], width - new_wh[0]) < 1:
                continue
            top = random.integers(height - new_wh[1])
            left = random.integers(width - new_wh[0])
            window = np.s_[top : top + new_wh[1], left : left + new_wh[0]]
            soft = cv2.GaussianBlur(alpha, (3, 3), 0)[..., None]
            image[window] = (soft * cutout + (1 - soft) * image[window]).astype(np.uint8)
            pasted = np.zeros((1, height, width), dtype=np.uint8)
            pasted[0][window] = alpha > 0.5
            masks = np.concatenate([masks * (1 - pasted), pasted])
        return image, masks

    def _prompt(self, random: Random, image: np.ndarray, masks: np.ndarray) -> PromptedView:
        settings, size = self.settings, self.size
        large_enough = [i for i, m in enumerate(masks) if m.sum() >= settings.min_area]
        chosen = random.permutation(large_enough)[: settings.boxes_per_view].astype(int)
        height, width = image.shape[:2]
        square = np.zeros((size, size, 3), dtype=np.uint8)
        square[:height, :width] = image
        halves = np.zeros((len(chosen), size // 2, size // 2), dtype=np.uint8)
        boxes = np.zeros((len(chosen), 4), dtype=np.float32)
        points = np.zeros((len(chosen), 3, 2), dtype=np.float32)
        labels = np.full((len(chosen), 3), -1, dtype=np.int64)
        for row, index in enumerate(chosen):
            whole = np.zeros((size, size), dtype=np.uint8)
            whole[:height, :width] = masks[index]
            halves[row] = cv2.resize(whole * 255, (size // 2,) * 2, interpolation=cv2.INTER_AREA)
            x, y, w, h = cv2.boundingRect(whole)
            boxes[row] = x, y, x + w, y + h
            if random.random() < 0.5:
                boxes[row] += random.normal(0, settings.box_jitter, 4) * (w, h, w, h)
            points[row], labels[row] = _click(random, whole, (x, y, w, h))
        return PromptedView(
            image=torch.from_numpy(square.transpose(2, 0, 1).copy()),
            content_hw=(height, width),
            masks=torch.from_numpy(halves),
            boxes_xyxy=torch.from_numpy(boxes),
            points_xy=torch.from_numpy(points),
            point_labels=torch.from_numpy(labels),
            by_points=bool(random.random() < settings.point_share),
        )


def _click(
    random: Random, mask: np.ndarray, bounds_xywh: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """One click well inside, and at times another inside and one beside the instance."""
    x, y, w, h = bounds_xywh
    region = mask[y : y + h, x : x + w]
    depth = cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    labels = np.array([1, random.choice([1, -1]), random.choice([0, -1])])
    points = np.zeros((3, 2))
    for i, candidates in enumerate((depth >= 0.5 * depth.max(), region > 0, region == 0)):
        rows, columns = np.nonzero(candidates)
        if not len(rows):
            labels[i] = -1
            continue
        at = random.integers(len(rows))
        points[i] = x + columns[at] + 0.5, y + rows[at] + 0.5
    return points, labels
