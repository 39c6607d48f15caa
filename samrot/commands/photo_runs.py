"""What ``samrot segment`` and ``samrot upright`` share: a run over photos, wherever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from samrot.data.images import read_image
from samrot.data.storage import Place, find_place, read_bytes
from samrot.errors import InputError, check_choice, check_count
from samrot.runtime.background import in_background
from samrot.runtime.records import FAILED, Record
from samrot.runtime.runner import EXECUTORS

NAME = "name"  # key of a record that holds the name of its photo


@dataclass(kw_only=True)
class PhotoRunSettings:
    """Which photos, and where a run over them runs.

    Args:
        images: files, folders (searched with their subfolders) and patterns, here or as URIs that
            fsspec reaches (s3://bucket/photos); tar files of photos (WebDataset); and .txt files
            that list photos and tar files, one a line.
        results: folder, or URI of one, for what is written for each photo; out by default.
        executor: what shares the work: processes (devices and nodes), or ray, a Ray cluster
            (RAY_ADDRESS), by default one on this machine, with so many workers as devices.
        device: where the models run: cpu, cuda, cuda:1, mps, or auto.
        devices: processes on this machine that share the work.
        nodes: machines; with more than one, start samrot by ``torchrun``.
    """

    images: list[str] = field(default_factory=list)
    results: str | None = None
    executor: str = "processes"
    device: str = "cpu"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        check_choice("executor", self.executor, EXECUTORS)
        for name in ("devices", "nodes"):
            check_count(name, getattr(self, name), 1)
        if self.executor == "ray" and self.nodes > 1:
            raise InputError(
                f"nodes is {self.nodes}, but executor ray; leave nodes out, and set RAY_ADDRESS to "
                "the cluster"
            )


@dataclass(frozen=True)
class PhotoItem:
    """One photo of a run.

    Args:
        name: name of its results, and id of its record.
        place: where it is.
    """

    name: str
    place: Place

    def failure(self, reason: str) -> Record:
        """The record that says why there is no result."""
        return {NAME: self.name, "image": str(self.place), FAILED: reason}


Item = TypeVar("Item", bound=PhotoItem)


@dataclass(frozen=True)
class ReadPhoto:
    """A photo that was read.

    Args:
        content: bytes of the file.
        image: (H, W, 3) uint8 RGB, as displayed; smaller, where that was enough.
    """

    content: bytes
    image: np.ndarray


def results_root(settings: PhotoRunSettings, out: str) -> Place:
    """The folder of what is written for each photo."""
    return find_place(out if settings.results is None else settings.results)


def read_ahead(
    items: Iterable[Item], enough: int | None = None
) -> Iterator[tuple[Item, ReadPhoto | InputError]]:
    """Photos in order, and why one cannot be read; two are read while another is worked on.

    Args:
        items: which photos.
        enough: as of ``read_image``.
    """
    return in_background(partial(_read, enough=enough), items)


def _read(item: Item, enough: int | None) -> tuple[Item, ReadPhoto | InputError]:
    try:
        content = read_bytes(item.place)
        image = read_image(str(item.place), content=content, enough=enough)
        return item, ReadPhoto(content, image)
    except InputError as error:
        return item, error


def names_digest(names: Collection[str]) -> str:
    """SHA-256 of the names of a run's photos: whether a summary is of these."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
