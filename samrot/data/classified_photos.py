"""Sets of labelled photos, read and validated once: a table of layouts, told by their content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from samrot.data.class_files import Classified, is_cifar, read_cifar, read_folder, read_zip
from samrot.errors import InputError, MissingFileError, check_choice
from samrot.wording import counted

SPLITS = ("train", "test")
# How a layout is known -> its reader: (path, split) to a way to read, labels, classes.
LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path, str], Classified]], ...] = (
    (lambda path: path.is_file(), read_zip),
    (is_cifar, read_cifar),
    (lambda path: path.is_dir(), read_folder),
)


@dataclass(frozen=True, eq=False)
class ClassifiedPhotos:
    """Labelled photos, read one at a time.

    Args:
        indices: (N,) int64, which photos of the source these are.
        labels: (N,) int64, the class of each.
        classes: names of the classes.
        source: where they came from, for messages.
        read_nth: photo of the source to (H, W, 3) uint8 RGB.
    """

    indices: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    source: str
    read_nth: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, n: int) -> np.ndarray:
        """Photo n, (H, W, 3) uint8 RGB."""
        return self.read_nth(int(self.indices[n]))

    def part(self, chosen: np.ndarray) -> ClassifiedPhotos:
        """Some of the photos."""
        return replace(self, indices=self.indices[chosen], labels=self.labels[chosen])

    def check_classes(self, classes: Sequence[str], source: str) -> None:
        """Refuse classes of a network, or of other photos, that are not these.

        Raises:
            InputError: naming the first class that differs.
        """
        if list(classes) == list(self.classes):
            return
        here, there = set(self.classes), set(classes)
        lone = sorted(here ^ there)
        if not lone:
            reason = "their order differs"
        else:
            reason = f"only {self.source if lone[0] in here else source} has {lone[0]!r}"
        raise InputError(
            f"{source} knows {len(classes)} classes, {self.source} {len(self.classes)}; expected "
            f"the same: {reason}"
        )


@dataclass(kw_only=True)
class ClassifiedPhotoSettings:
    """A set of labelled photos.

    Args:
        images: a folder of class folders, a zip of one (read where it is), or the folder of CIFAR's
            python batches.
        split: train or test, of CIFAR's batches; folders and zips hold one split.
    """

    images: str
    split: str = "test"

    def __post_init__(self) -> None:
        check_choice("data.split", self.split, SPLITS)

    def load(self) -> ClassifiedPhotos:
        """The labels of the photos, checked; photos are read when they are asked for.

        Raises:
            MissingFileError: if there is no such file or folder.
            InputError: if it is of no known layout, damaged, or holds no classes.
        """
        path = Path(self.images)
        if not path.exists():
            raise MissingFileError(
                f"data.images {path} does not exist; expected a folder of class folders, a zip of "
                "one, or CIFAR's batches"
            )
        reader = next(reader for known, reader in LAYOUTS if known(path))
        read_nth, labels, classes = reader(path, self.split)
        if not labels or len(classes) < 2:
            raise InputError(
                f"data.images {path} holds {counted(len(labels), 'photo')} of "
                f"{counted(len(classes), 'class', 'classes')}; expected at least "
                "two classes: a folder with photos for each"
            )
        if min(labels) < 0 or max(labels) >= len(classes):
            raise InputError(
                f"data.images {path} has labels from {min(labels)} to {max(labels)}; expected 0 to "
                f"{len(classes) - 1}"
            )
        numbers = np.array(labels, dtype=np.int64)
        return ClassifiedPhotos(np.arange(len(numbers)), numbers, classes, str(path), read_nth)
