"""Training the tilt network of a canonicalizer: upright photos, tilted by known angles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.canonicalizers import Canonicalizer
from samrot.canonicalizers.thumbnail import FILL
from samrot.canonicalizers.tilt import REACH_DEG, bin_angles_deg
from samrot.data.images import read_image
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4, rotation_matrix
from samrot.geometry.pose import factor_angle
from samrot.training.objective import TrainingObjective
from samrot.training.pose_photos import PosePhotos, tilted

TARGET_SPREAD_DEG = 2.0  # of the Gaussian around the true tilt that the evidence is to be
CLOSE_DEG = 5.0
SUPERSAMPLING = 2


class TiltPhotos(PosePhotos):
    """An endless, repeatable stream of discs out of tilted photos, and the tilt of each, degrees.

    Each view is resampled once, from more pixels than it has, at any tilt alike, and degraded after
    that: neither the resampling nor the compression of a view tells its tilt. Straight edges to
    grey, as of a photo that was turned on a canvas, come at random angles.
    """

    OVERSAMPLING = 2.2
    reach_deg = REACH_DEG

    def __getitem__(self, n: int) -> tuple[Tensor, float]:  # type: ignore[override]
        random = np.random.default_rng([self.seed, n])
        photo = self.photo_at(n)
        angle_deg = float(random.uniform(-self.reach_deg, self.reach_deg))
        view = self._disc(random, photo, angle_deg)
        if random.random() < self.augmentation.mirror:
            view, angle_deg = view[:, ::-1], -angle_deg
        view = np.ascontiguousarray(view)
        if random.random() < self.augmentation.erase:
            _cover(random, view)
        self.appearance.set_random_seed(int(random.integers(2**32)))
        view = self.appearance(image=view)["image"]
        return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1))), angle_deg

    def _disc(self, random: np.random.Generator, photo: np.ndarray, angle_deg: float) -> np.ndarray:
        """(S, S, 3) around a disc that lies in the photo, tilted counter-clockwise."""
        height, width = photo.shape[:2]
        diameter = min(height, width) * float(np.sqrt(random.uniform(*self.augmentation.crop_area)))
        reach = diameter / 2
        centre = np.array(
            [random.uniform(reach, width - reach), random.uniform(reach, height - reach)]
        )
        side = SUPERSAMPLING * self.thumbnail.size
        back = rotation_matrix(-angle_deg) * (diameter / side)
        # cv2 counts from the middle of the first pixel.
        offset = centre - 0.5 + back @ np.full(2, 0.5 - side / 2)
        warped = cv2.warpAffine(
            photo, np.column_stack([back, offset]), (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        return cv2.resize(warped, (self.thumbnail.size,) * 2, interpolation=cv2.INTER_AREA)


def _cover(random: np.random.Generator, view: np.ndarray) -> None:
    """Fill what lies beyond one to three lines, at any angles, with the colour of a canvas."""
    side = view.shape[0]
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    for _ in range(int(random.integers(1, 4))):
        direction = random.uniform(0, 2 * np.pi)
        distance = random.uniform(0.5, 0.95) * side / 2
        view[x * np.cos(direction) + y * np.sin(direction) > distance] = FILL


class TiltObjective(TrainingObjective):
    """Evidence for the tilt: cross-entropy with a Gaussian around the true one.

    Args:
        canonicalizer: what is trained; its exact part stays as it is.
        dataset: views and their tilts.
        save_canonicalizer: writes a checkpoint.
        val: upright photos, and whether EXIF orientation applies to them.
        seed: seed of the tilts that these are measured at.
    """

    def __init__(
        self,
        canonicalizer: Canonicalizer,
        dataset: TiltPhotos,
        save_canonicalizer: Callable[[Any, Path], None],
        *,
        val: tuple[Sequence[Path], bool | None],
        seed: int,
    ) -> None:
        super().__init__(
            nn.ModuleDict({"canonicalizer": canonicalizer}),
            dataset,
            checkpoint_name="canonicalizer.safetensors",
            measure="val_within_5_deg",
        )
        self.register_buffer("angles_deg", bin_angles_deg().float(), persistent=False)
        self.save_canonicalizer = save_canonicalizer
        self.val = val
        self.seed = seed

    angles_deg: Tensor

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy, and the mean distance of the most likely bin from the truth, degrees."""
        model: Any = self.model
        canonicalizer = model["canonicalizer"]
        views, tilts_deg = batch
        images = canonicalizer.normalise(views).contiguous(memory_format=torch.channels_last)
        logits = canonicalizer.tilt_network(images).float()
        offsets = self.angles_deg[None] - tilts_deg.to(logits)[:, None]
        targets = (-(offsets**2) / (2 * TARGET_SPREAD_DEG**2)).softmax(dim=1)
        found = self.angles_deg[logits.argmax(dim=1)]
        error = float((found - tilts_deg.to(found)).abs().mean())
        return F.cross_entropy(logits, targets), {"error_deg": error}

    def validate(self, model: nn.Module, rank: int, world_size: int) -> Mapping[str, Tensor]:
        """Number of this process's photos whose tilt, or angle, is found to within 5 degrees."""
        paths, apply_exif = self.val
        if not paths:
            return {}
        canonicalizer: Any = model["canonicalizer"]  # type: ignore[index]
        close = 0
        indices = range(rank, len(paths), world_size)
        for index in indices:
            random = np.random.default_rng([self.seed, index])
            photo = read_image(paths[index], apply_exif=apply_exif)
            close += abs(self.error_deg(canonicalizer, photo, random)) <= CLOSE_DEG
        return {self.measure: torch.tensor(close), "count": torch.tensor(len(indices))}

    @staticmethod
    def error_deg(canonicalizer: Any, upright: np.ndarray, random: np.random.Generator) -> float:
        """How far the tilt is off that is found of a photo, (H, W, 3) uint8, tilted at random."""
        angle_deg = random.uniform(-REACH_DEG, REACH_DEG)
        found = canonicalizer.estimate_tilt([tilted(upright, angle_deg, "cut")])
        return float(found.tilt_deg - angle_deg)

    def save(self, model: nn.Module, path: Path) -> None:
        """Write the checkpoint that ``load_canonicalizer`` reads."""
        self.save_canonicalizer(model["canonicalizer"], path)  # type: ignore[index]


class AnglePhotos(TiltPhotos):
    """The same at any angle."""

    reach_deg = 180


class AngleObjective(TiltObjective):
    """A vector for the angle: cross-entropy with a von Mises distribution around the true one.

    The vector is the natural parameter of that distribution. On upright photos alone this is the
    prior loss of the paper with its one-hot prior made continuous.

    Args:
        args, kwargs: as of ``TiltObjective``; the canonicalizer is a ``VectorCanonicalizer``.
    """

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy, and the mean error of the angle, degrees."""
        model: Any = self.model
        canonicalizer = model["canonicalizer"]
        views, angles_deg = batch
        vectors = canonicalizer.network(canonicalizer.normalise(views)).float()[:, :2]
        angles = torch.deg2rad(angles_deg.to(vectors))
        true = torch.stack([angles.cos(), angles.sin()], dim=1)
        found = torch.atan2(vectors[:, 1], vectors[:, 0]).detach()
        error = torch.rad2deg(torch.remainder(found - angles + torch.pi, 2 * torch.pi) - torch.pi)
        return von_mises_loss(vectors, true), {"error_deg": float(error.abs().mean())}

    @staticmethod
    def error_deg(canonicalizer: Any, upright: np.ndarray, random: np.random.Generator) -> float:
        """The same of the whole angle, of a photo turned by any."""
        angle_deg = random.uniform(-180, 180)
        quarters, tilt_deg = factor_angle(angle_deg)
        turned = move_image(tilted(upright, tilt_deg, "cut"), quarters)
        pose = canonicalizer.estimate(np.ascontiguousarray(turned))
        off_deg = D4.angle_deg(pose.element) + pose.tilt_deg - angle_deg
        return float((off_deg + 180) % 360 - 180)


def von_mises_loss(vectors: Tensor, directions: Tensor) -> Tensor:
    """-log of the von Mises density at some directions, up to log 2 pi; mean over the batch.

    Args:
        vectors: (B, 2), natural parameters: mean direction times concentration.
        directions: (B, 2), of unit length.
    """
    concentration = vectors.norm(dim=1)
    log_normaliser = concentration + torch.special.i0e(concentration).log()
    return (log_normaliser - (vectors * directions).sum(dim=1)).mean()
