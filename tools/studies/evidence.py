"""What canonicalizers say of photos, kept on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import samrot
from samrot.files import write_text
from samrot.geometry.groups import C4


class Evidence(NamedTuple):
    """What a canonicalizer says of N upright photos; of turned ones it follows from the law.

    Args:
        probabilities: (N, 4) of each pose.
        milliseconds: (N,) that it took.
    """

    probabilities: np.ndarray
    milliseconds: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(N,) turns that photos are left with by what is undone; 0 where they are upright.

        A photo turned by any k is left with the same, since what is said of it turns along.
        """
        return -self.probabilities.argmax(axis=1) % C4.order

    @property
    def correct(self) -> np.ndarray:
        """(N,) 1 where the pose is right, else 0."""
        return (self.errors == 0).astype(float)

    @property
    def turned(self) -> np.ndarray:
        """(4, N, 4) probabilities of each pose of the photos turned by 0, 90, 180, 270 degrees."""
        return np.stack([np.roll(self.probabilities, k, axis=1) for k in range(C4.order)])


class Said:
    """Evidence on some photos, by canonicalizer.

    Args:
        folder: where it is kept.
        paths: the photos, upright as they are read.
        apply_exif: as of ``samrot.read_image``.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], apply_exif: bool | None = True) -> None:
        self.folder, self.paths, self.apply_exif = folder, list(paths), apply_exif

    def __call__(self, name: str, source: str | Path | None = None) -> Evidence:
        """Of a canonicalizer; the same command goes on where it was stopped.

        Args:
            name: what it is kept under.
            source: what ``samrot.load_canonicalizer`` takes; the name by default.
        """
        file = self.folder / f"{name}.json"
        kept: dict[str, list[float]] = json.loads(file.read_text()) if file.is_file() else {}
        missing = [path for path in self.paths if path.name not in kept]
        if missing:
            self.folder.mkdir(parents=True, exist_ok=True)
            canonicalizer = samrot.load_canonicalizer(source or name)
            canonicalizer.estimate(self._read(missing[0]))  # the first takes longer
            for number, path in enumerate(tqdm(missing, desc=name, unit="image"), 1):
                image, start = self._read(path), time.perf_counter()
                pose = canonicalizer.estimate(image)
                seconds = time.perf_counter() - start
                kept[path.name] = [*np.asarray(pose.probabilities).tolist(), 1000 * seconds]
                if number % 100 == 0 or number == len(missing):
                    write_text(file, json.dumps(kept))
        rows = np.array([kept[path.name] for path in self.paths])
        return Evidence(rows[:, : C4.order], rows[:, C4.order])

    def _read(self, path: Path) -> np.ndarray:
        return samrot.read_image(path, apply_exif=self.apply_exif)
