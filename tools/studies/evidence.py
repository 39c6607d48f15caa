"""What canonicalizers say of photos, kept on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import samrot
from samrot.evaluation.angle_accuracy import AngleAccuracy
from samrot.files import write_text
from samrot.geometry.groups import C4

Ask = Callable[[int, np.ndarray], list[float]]  # the number of a photo and the photo


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

        def start() -> Ask:
            canonicalizer = samrot.load_canonicalizer(source or name)
            canonicalizer.estimate(self._read(self.paths[0]))  # the first takes longer

            def ask(number: int, image: np.ndarray) -> list[float]:
                begun = time.perf_counter()
                pose = canonicalizer.estimate(image)
                seconds = time.perf_counter() - begun
                return [*np.asarray(pose.probabilities).tolist(), 1000 * seconds]

            return ask

        rows = self._of_each(name, start)
        return Evidence(rows[:, : C4.order], rows[:, C4.order])

    def angle_errors_deg(self, name: str) -> np.ndarray:
        """(N,) how far off a canonicalizer is, 0..180, of photos turned by any angle at random."""

        def start() -> Ask:
            canonicalizer = samrot.load_canonicalizer(name)

            def ask(number: int, image: np.ndarray) -> list[float]:
                turned = AngleAccuracy(canonicalizer, draws=1, seed=number)
                turned.update(image)
                return turned.errors_deg[0]

            return ask

        return np.abs(self._of_each(f"{name}_at_any_angle", start)[:, 0])

    def _of_each(self, name: str, start: Callable[[], Ask]) -> np.ndarray:
        """What is said of each photo, kept under a name; asked for where it is not yet."""
        file = self.folder / f"{name}.json"
        kept: dict[str, list[float]] = json.loads(file.read_text()) if file.is_file() else {}
        missing = [n for n, path in enumerate(self.paths) if path.name not in kept]
        if missing:
            self.folder.mkdir(parents=True, exist_ok=True)
            ask = start()
            for done, number in enumerate(tqdm(missing, desc=name, unit="image"), 1):
                path = self.paths[number]
                kept[path.name] = ask(number, self._read(path))
                if done % 100 == 0 or done == len(missing):
                    write_text(file, json.dumps(kept))
        return np.array([kept[path.name] for path in self.paths])

    def _read(self, path: Path) -> np.ndarray:
        return samrot.read_image(path, apply_exif=self.apply_exif)
