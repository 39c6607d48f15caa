"""Sets of labelled clouds, read and validated once: a table of layouts, told by their content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samrot.data.cloud_files import SPLITS, read_hdf5, read_meshes, read_npz, read_parts
from samrot.errors import InputError, MissingFileError, check_choice, check_count
from samrot.geometry.space import MIN_POINTS, check_cloud, in_unit_ball
from samrot.wording import counted


@dataclass(frozen=True, eq=False)
class CloudDataset:
    """Labelled clouds in memory.

    Args:
        clouds: each (N, 3) float32 in the unit ball, N at least 3; they may differ in N.
        labels: each an int, the class, or (N,) int64, the part of each point.
        classes: names of the classes, or of the parts.
        source: where they came from, for messages.
    """

    clouds: Sequence[np.ndarray]
    labels: Sequence[int | np.ndarray]
    classes: Sequence[str]
    source: str

    def __len__(self) -> int:
        return len(self.clouds)

    @property
    def has_parts(self) -> bool:
        """Whether points are labelled, not clouds."""
        return isinstance(self.labels[0], np.ndarray)

    def part(self, indices: Sequence[int] | np.ndarray) -> CloudDataset:
        """Some of the clouds."""
        clouds, labels = [self.clouds[i] for i in indices], [self.labels[i] for i in indices]
        return CloudDataset(clouds, labels, self.classes, self.source)

    def cut(self, num_points: int | None) -> CloudDataset:
        """The clouds with their first points alone, at most so many."""
        own = [y[:num_points] if isinstance(y, np.ndarray) else y for y in self.labels]
        return CloudDataset([c[:num_points] for c in self.clouds], own, self.classes, self.source)

    def check_labels_of(self, classes: Sequence[str], parts: bool, checkpoint: str) -> None:
        """Refuse a network for other labels than these.

        Raises:
            InputError: naming the first class that differs.
        """
        kinds = {False: "clouds", True: "points of clouds"}
        if parts != self.has_parts:
            raise InputError(
                f"network.checkpoint {checkpoint} labels {kinds[parts]}, but data.clouds "
                f"{self.source} has labels of {kinds[self.has_parts]}; choose another of the two"
            )
        if list(classes) != list(self.classes):
            differing = sorted(set(classes) ^ set(self.classes))
            raise InputError(
                f"network.checkpoint {checkpoint} has {len(classes)} classes and data.clouds "
                f"{self.source} {len(self.classes)}; expected the same in the same order: "
                f"{f'only one has {differing[0]!r}' if differing else 'the order differs'}"
            )


def _is_hdf5(path: Path, split: str) -> bool:
    return path.suffix in (".h5", ".hdf5") or (path / f"{split}_files.txt").is_file()


# How a layout is known -> its reader: (path, split, num_points) to clouds, labels, classes.
LAYOUTS: tuple[tuple[Callable[[Path, str], bool], Callable[..., tuple]], ...] = (
    (lambda path, split: path.suffix == ".npz", read_npz),
    (_is_hdf5, read_hdf5),
    (lambda path, split: (path / "synsetoffset2category.txt").is_file(), read_parts),
    (lambda path, split: path.is_dir(), read_meshes),
)


@dataclass(kw_only=True)
class CloudSettings:
    """A set of labelled clouds.

    Args:
        clouds: an .npz or .h5 file, a folder like modelnet40_ply_hdf5_2048 (HDF5) or like
            ShapeNet's parts, or a folder of class folders with OFF or PLY meshes.
        split: train or test.
        num_points: points of each cloud, the first of them; by default all. Meshes are sampled with
            as many, by default 1024.
    """

    clouds: str
    split: str = "test"
    num_points: int | None = None

    def __post_init__(self) -> None:
        check_choice("data.split", self.split, SPLITS)
        if self.num_points is not None:
            check_count("data.num_points", self.num_points, MIN_POINTS)

    def load(self) -> CloudDataset:
        """The clouds of the split, checked, each in the unit ball.

        Raises:
            MissingFileError: if there is no such file or folder.
            InputError: if it is of no known layout, damaged, or holds what is no cloud.
        """
        path = Path(self.clouds)
        if not path.exists():
            raise MissingFileError(f"data.clouds {path} does not exist; expected a file or folder")
        reader = next((reader for known, reader in LAYOUTS if known(path, self.split)), None)
        if reader is None:
            raise InputError(
                f"data.clouds {path} is of no known kind; expected .npz, .h5 or a folder"
            )
        clouds, labels, classes = reader(path, self.split, self.num_points)
        return _checked(clouds, labels, classes, f"{path} ({self.split})", self.num_points)


def _checked(
    clouds: Sequence[np.ndarray],
    labels: Sequence[int | np.ndarray],
    classes: Sequence[str],
    source: str,
    num_points: int | None,
) -> CloudDataset:
    if len(clouds) == 0:
        raise InputError(f"data.clouds {source} holds no cloud; expected at least one")
    if len(clouds) != len(labels):
        raise InputError(
            f"data.clouds {source} has {counted(len(clouds), 'cloud')} and "
            f"{counted(len(labels), 'label')}; expected one for each"
        )
    checked = []
    for number, (cloud, label) in enumerate(zip(clouds, labels, strict=True)):
        name = f"data.clouds {source}: cloud {number}"
        checked.append(in_unit_ball(check_cloud(cloud, name)[:num_points]))
        _check_label(label, len(cloud), len(classes), name)
    own = [y[:num_points] if isinstance(y, np.ndarray) else int(y) for y in labels]
    return CloudDataset(checked, own, list(classes), source)


def _check_label(label: int | np.ndarray, count: int, num_classes: int, name: str) -> None:
    if isinstance(label, np.ndarray) and label.shape != (count,):
        raise InputError(
            f"{name} has {counted(count, 'point')} and {counted(label.size, 'label')}; expected "
            "one each"
        )
    if np.min(label) < 0 or np.max(label) >= num_classes:
        raise InputError(
            f"{name} has labels from {np.min(label)} to {np.max(label)}; expected 0 to "
            f"{num_classes - 1}, a number for each class named"
        )
