"""Bursts: the photos of a folder, of one scene, that share a pose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import overload

import numpy as np

from samrot.canonicalizers import Canonicalizer
from samrot.data.images import read_image
from samrot.data.storage import Place, read_bytes
from samrot.errors import InputError
from samrot.geometry.pose import Pose
from samrot.runtime.records import Record
from samrot.wording import counted


@dataclass(frozen=True)
class Burst:
    """The photos of one folder.

    Args:
        folder: where they are.
        places: where each of them is.
    """

    folder: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class BurstPose:
    """What a burst's photos say together.

    Args:
        folder: folder of the burst.
        photos: how many could be read, and speak for it.
        pose: the pose that they share, an element of D4.
        pose_confidence: its probability.
    """

    folder: str
    photos: int
    pose: int
    pose_confidence: float

    @classmethod
    def of_record(cls, record: Record) -> BurstPose:
        """From the record of one of its photos."""
        return cls(**record["burst"], **{k: record[k] for k in ("pose", "pose_confidence")})

    def __str__(self) -> str:
        return (
            f"{self.folder} ({counted(self.photos, 'photo')}, pose {self.pose}, probability "
            f"{self.pose_confidence:.2f})"
        )


def find_bursts(photos: Mapping[str, Place]) -> dict[str, Burst]:
    """Photo -> the burst that it is of, from photo -> place."""
    folder_of = {name: _folder(place) for name, place in photos.items()}
    places: dict[str, list[Place]] = {}
    for name, place in photos.items():
        places.setdefault(folder_of[name], []).append(place)
    bursts = {folder: Burst(folder, tuple(some)) for folder, some in places.items()}
    return {name: bursts[folder] for name, folder in folder_of.items()}


def estimate_burst(canonicalizer: Canonicalizer, burst: Burst) -> tuple[Pose, int]:
    """The one pose of a burst, and the number of its photos that could be read and speak for it.

    One photo is in memory at a time; each is read twice or more.

    Raises:
        InputError: if none can be read.
    """
    photos = _Photos(tuple(place for place in burst.places if _can_be_read(place)))
    return canonicalizer.estimate_many(photos), len(photos)


class _Photos(Sequence[np.ndarray]):
    """Photos, (H, W, 3) uint8 RGB as displayed, each read when it is asked for."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> _Photos: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | _Photos:
        if isinstance(index, slice):
            return _Photos(self.places[index])
        return _read(self.places[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(_read, self.places)


def _read(place: Place) -> np.ndarray:
    return read_image(str(place), content=read_bytes(place))


def _can_be_read(place: Place) -> bool:
    with suppress(InputError):
        _read(place)
        return True
    return False


def _folder(place: Place) -> str:
    """The folder that a photo is in, be it in an archive."""
    if isinstance(place, Path):
        return str(place.parent)
    member, _, archive = place.partition("::")
    if not archive:
        return place.rpartition("/")[0]
    within = PurePosixPath(member.removeprefix("tar://")).parent
    return f"{archive}/{within}".removesuffix("/.")
