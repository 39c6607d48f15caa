"""Photos for training a canonicalizer: decoded once, augmented without hiding which way is up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from samrot.canonicalizers.thumbnail import FILL, Thumbnail
from samrot.data.images import read_image
from samrot.errors import InputError, check_range
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4

TILT_SURROUNDS = ("filled", "reflected", "cut")


@dataclass(kw_only=True)
class PoseAugmentation:
    """Random views of a photo that keep its upright.

    Args:
        crop_area: smallest and largest share of the photo's area that a view covers.
        tilt_deg: largest tilt, degrees; up to 45 the nearest quarter turn stays the same.
        tilt_share: probability of a tilt.
        mirror: probability of the mirror image; 0 for a group that tells it apart.
        colour: strength of brightness, contrast, saturation and hue changes, 0..1.
        degrade: probability of blur, noise or JPEG compression, each.
        erase: probability of blanking rectangles.
    """

    crop_area: tuple[float, float] = (0.3, 1.0)
    tilt_deg: float = 6.0
    tilt_share: float = 0.3
    mirror: float = 0.5
    colour: float = 0.3
    degrade: float = 0.2
    erase: float = 0.25

    def __post_init__(self) -> None:
        check_area("augmentation.crop_area", self.crop_area)
        check_range("augmentation.tilt_deg", self.tilt_deg, 0, 45)
        for name in ("tilt_share", "mirror", "colour", "degrade", "erase"):
            check_range(f"augmentation.{name}", getattr(self, name), 0, 1)


def check_area(name: str, area: tuple[float, float]) -> None:
    """Refuse shares of an area that are not in order, or not above 0 and at most 1."""
    for share in area:
        check_range(name, share, 1e-4, 1)
    if area[0] > area[1]:
        raise InputError(f"{name} is {tuple(area)}; expected the smaller share first")


def build_augmentation(thumbnail: Thumbnail, settings: PoseAugmentation) -> Any:
    """An albumentations pipeline from a photo, (H, W, 3) uint8, to a (S, S, 3) uint8 view.

    With square thumbnails the view is a random square; with ``letterbox`` it keeps the photo's
    shape and gets the same bars as at inference.
    """
    from samrot.data.albumentations import albumentations as A

    size = thumbnail.size
    if thumbnail.frame != "letterbox":
        frame = [
            A.RandomResizedCrop(
                (size, size), scale=settings.crop_area, ratio=(0.85, 1.18),
                interpolation=cv2.INTER_AREA,
            )
        ]  # fmt: skip
    else:
        shortest = float(np.sqrt(settings.crop_area[0]))
        frame = [
            A.RandomCropFromBorders(*[(1 - shortest) / 2] * 4),
            A.LongestMaxSize(size, interpolation=cv2.INTER_AREA),
            A.PadIfNeeded(size, size, border_mode=cv2.BORDER_CONSTANT, fill=FILL),
        ]
    return A.Compose(
        [
            *frame,
            A.HorizontalFlip(p=settings.mirror),
            build_appearance(settings),
            A.CoarseDropout((1, 4), (0.1, 0.35), (0.1, 0.35), fill=FILL, p=settings.erase),
        ]
    )


def build_appearance(settings: PoseAugmentation) -> Any:
    """An albumentations pipeline of colours, blur, noise and compression, (H, W, 3) uint8."""
    from samrot.data.albumentations import albumentations as A

    strength = (1 - settings.colour, 1 + settings.colour)
    hue = settings.colour / 6
    return A.Compose(
        [
            A.ColorJitter(strength, strength, strength, (-hue, hue), p=0.8),
            A.ToGray(p=0.1),
            A.GaussianBlur((3, 5), p=settings.degrade),
            A.GaussNoise((0.02, 0.1), p=settings.degrade),
            A.ImageCompression(quality_range=(40, 95), p=settings.degrade),
        ]
    )


def tilted(photo: np.ndarray, angle_deg: float, surround: str) -> np.ndarray:
    """A photo tilted counter-clockwise by less than a quarter turn.

    Args:
        photo: (H, W, 3) uint8.
        angle_deg: the tilt, degrees.
        surround: ``filled`` shows all of the photo on a canvas of one colour, ``reflected`` on its
            own reflection at its edges, ``cut`` only the largest part of its shape within it.
    """
    height, width = photo.shape[:2]
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    canvas_wh = np.array([width * cos + height * abs(sin), height * cos + width * abs(sin)])
    if surround == "cut":
        canvas_wh = np.array([width, height]) * min(width, height) / max(canvas_wh)
    new_width, new_height = np.maximum(canvas_wh.round().astype(int), 1).tolist()
    turn = np.array([[cos, sin], [-sin, cos]])
    # cv2 counts from the middle of the first pixel.
    centre, new_centre = (
        np.array([w - 1, h - 1]) / 2 for w, h in ((width, height), (new_width, new_height))
    )
    matrix = np.column_stack([turn, new_centre - turn @ centre])
    border = cv2.BORDER_CONSTANT if surround == "filled" else cv2.BORDER_REFLECT_101
    return cv2.warpAffine(
        photo, matrix, (new_width, new_height), flags=cv2.INTER_LINEAR, borderMode=border,
        borderValue=(FILL,) * 3,
    )  # fmt: skip


class PosePhotos(Dataset[Tensor]):
    """An endless, repeatable stream of augmented views of upright photos, (3, S, S) uint8.

    Item n is a function of n and the seed alone: the photos in a new order every epoch, with new
    random views. A run that resumes at step n therefore sees what it would have seen.

    Args:
        paths: image files.
        thumbnail: thumbnail of the canonicalizer that is trained.
        augmentation: random views.
        cutmix: probability that a view is lent a rectangle of another photo's view: upright photos
            mix to upright ones (Yun et al. 2019, without mixing labels, since all are the same).
        cache: decode every photo once and keep it in memory, its shortest side some thumbnails.
        apply_exif: whether EXIF applies, as in ``read_image``.
        poses: element of D4 that each photo is turned by, which is undone; None: all are upright.
        seed: seed of the order and the views.
    """

    OVERSAMPLING = 1.6  # thumbnails that the shortest side of a photo is read at

    def __init__(
        self,
        paths: Sequence[Path],
        thumbnail: Thumbnail,
        augmentation: PoseAugmentation,
        *,
        cutmix: float = 0.0,
        cache: bool = True,
        apply_exif: bool | None = True,
        poses: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.paths = list(paths)
        self.poses = poses
        self.thumbnail = thumbnail
        self.cutmix = cutmix
        self.apply_exif = apply_exif
        self.seed = seed
        self.augmentation = augmentation
        self.transform = build_augmentation(thumbnail, augmentation)
        self.appearance = build_appearance(augmentation)
        self.photos: list[np.ndarray] | None = None
        if cache:
            indices = tqdm(range(len(self.paths)), desc="reading photos", unit="image")
            self.photos = [self._read(index) for index in indices]

    def __getitem__(self, n: int) -> Tensor:
        random = np.random.default_rng([self.seed, n])
        view = self._view(random, self.photo_at(n))
        if random.random() < self.cutmix:
            size = self.thumbnail.size
            height, width = random.integers(size // 5, size // 2 + 1, 2)
            top, left = random.integers(size - height + 1), random.integers(size - width + 1)
            window = np.s_[top : top + height, left : left + width]
            other = self._view(random, self._photo(int(random.integers(len(self.paths)))))
            view[window] = other[window]
        return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))

    def photo_at(self, n: int) -> np.ndarray:
        """The photo of item n, (H, W, 3) uint8: in a new order every epoch."""
        return self._photo(self.index_at(n))

    def index_at(self, n: int) -> int:
        """Which of the photos item n shows."""
        epoch, position = divmod(n, len(self.paths))
        return int(epoch_order(self.seed, epoch, len(self.paths))[position])

    def _photo(self, index: int) -> np.ndarray:
        return self._read(index) if self.photos is None else self.photos[index]

    def _view(self, random: np.random.Generator, photo: np.ndarray) -> np.ndarray:
        if random.random() < self.augmentation.tilt_share:
            angle_deg = random.uniform(-1, 1) * self.augmentation.tilt_deg
            photo = tilted(photo, angle_deg, TILT_SURROUNDS[random.integers(len(TILT_SURROUNDS))])
        self.transform.set_random_seed(int(random.integers(2**32)))
        view: np.ndarray = self.transform(image=photo)["image"]
        return view

    def _read(self, index: int) -> np.ndarray:
        pose = D4.identity if self.poses is None else self.poses[index]
        photo = read_put_back(self.paths[index], pose, self.apply_exif)
        scale = self.OVERSAMPLING * self.thumbnail.size / min(photo.shape[:2])
        if scale < 1.0:
            photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return photo


def read_put_back(path: Path, pose: int, apply_exif: bool | None) -> np.ndarray:
    """A photo, (H, W, 3) uint8, after the element of D4 that it is turned by is undone."""
    return move_image(read_image(path, apply_exif=apply_exif), D4.inverse(pose))


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The order of the photos in one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(length)
