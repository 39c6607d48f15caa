"""Training by a teacher: what another canonicalizer says of each photo stands in for the prior.

Source: distillation, Hinton et al. 2015 (arXiv 1503.02531), at temperature 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from samrot.canonicalizers import Canonicalizer, load_canonicalizer
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.geometry.groups import D4, FiniteGroup
from samrot.training.pose_objectives import PoseObjective
from samrot.training.pose_photos import PoseAugmentation, PosePhotos, read_put_back


def load_teacher(name: str, group: FiniteGroup) -> Canonicalizer:
    """The canonicalizer of that name, or in that file, who is to teach one of a group.

    Raises:
        InputError: as ``load_canonicalizer``; or if it is of another group.
    """
    teacher = load_canonicalizer(name)
    if teacher.group != group:
        raise InputError(
            f"teacher is {name!r}, of {teacher.group.name}; expected a canonicalizer of "
            f"{group.name}, which is what is trained, or set canonicalizer.group"
        )
    return teacher


def ask_teacher(
    teacher: Canonicalizer, paths: Sequence[Path], apply_exif: bool | None, given: Sequence[int]
) -> tuple[list[int], Tensor]:
    """What a teacher says of photos, in whichever way they lie.

    Args:
        teacher: of C4 or D4.
        paths: the photos.
        apply_exif: as of ``read_image``.
        given: element of D4 by which each is known to be turned, which is undone first.

    Returns:
        Element that each is most likely turned by, and the probabilities, (N, |G|) float32, of each
        photo after that is undone.
    """
    poses: list[int] = []
    probabilities: list[Tensor] = []
    asked = tqdm(list(zip(paths, given, strict=True)), desc="asking the teacher", unit="image")
    for path, known in asked:
        photo = read_put_back(path, known, apply_exif)
        logits = teacher.logits(photo)
        found = int(logits.argmax())
        if found != teacher.group.identity:
            # Asked of the photo put upright, its turns are answered alike to the bit.
            logits = teacher.logits(move_image(photo, D4.inverse(found)))
        poses.append(D4.compose(known, found))
        probabilities.append(logits.double().softmax(0).float().cpu())
    return poses, torch.stack(probabilities)


class TaughtPhotos(PosePhotos):
    """Views of photos, and what a teacher says: (3, S, S) uint8 and (|G|,) probabilities.

    The photos are put upright as the teacher finds them, so that they can be mixed.

    Args:
        paths, thumbnail, augmentation, poses, options: as of ``PosePhotos``.
        teacher: of C4 or D4; of the latter only without mirrored views.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        thumbnail: Thumbnail,
        augmentation: PoseAugmentation,
        *,
        teacher: Canonicalizer,
        apply_exif: bool | None,
        poses: Sequence[int],
        **options: Any,
    ) -> None:
        found, self.probabilities = ask_teacher(teacher, paths, apply_exif, poses)
        unmirrored = replace(augmentation, mirror=0.0)
        super().__init__(
            paths, thumbnail, unmirrored, apply_exif=apply_exif, poses=found, **options
        )
        self.mirror, self.group = augmentation.mirror, teacher.group

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        view, probabilities = super().__getitem__(n), self.probabilities[self.index_at(n)]
        if np.random.default_rng([self.seed, n, 1]).random() < self.mirror:
            return view.flip(-1), self.group.mirror_logits(probabilities)
        return view, probabilities


class TaughtObjective(PoseObjective):
    """The prior loss, with what a teacher says of each photo as its prior: of ``TaughtPhotos``."""

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the losses, and the share of views whose pose is the teacher's."""
        thumbnails, probabilities = batch
        _, loss, accuracy = self.pose_loss(thumbnails, probabilities)
        return loss, {"pose_accuracy": accuracy}
