"""Folders of photos: poses alone, and masks by one process or several."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import samrot
from benchmarks.racing import Timings, race
from benchmarks.subjects import COCO_HW, Options, device, photo
from samrot.commands.upright_photo import PIXELS_PER_BIN

CAMERA_HW = (3000, 4000)


def _write_photos(folder: Path, count: int, size_hw: tuple[int, int]) -> list[Path]:
    paths = [folder / f"{n:05d}.jpg" for n in range(count)]
    for n, path in enumerate(paths):
        Image.fromarray(photo(n, size_hw)).save(path, quality=90)
    return paths


def compare_poses(options: Options) -> Timings:
    """Poses of JPEGs of 12 megapixels, from their files, against decoding them by Pillow alone."""
    canonicalizer = samrot.load_canonicalizer("c4", device=device())
    enough = PIXELS_PER_BIN * canonicalizer.thumbnail.size

    with TemporaryDirectory() as folder:
        paths = _write_photos(Path(folder), options.photos, CAMERA_HW)

        def decode() -> None:
            for path in paths:
                np.asarray(Image.open(path).convert("RGB"))

        def poses(enough: int | None) -> None:
            for path in paths:
                canonicalizer.estimate(samrot.read_image(path, enough=enough))

        return race(
            {
                "Pillow decodes": decode,
                "samrot, pose of all pixels": partial(poses, None),
                "samrot upright, pose of a reduced decoding": partial(poses, enough),
            },
            options.repeats,
        )


def compare_executors(options: Options) -> Timings:
    """``samrot segment`` on photos of COCO's size, seven boxes each: whole commands."""
    boxes = [
        word for x in range(0, 420, 60) for word in ("--box", str(x), "80", str(x + 200), "400")
    ]
    numbers = itertools.count()
    with TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        _write_photos(photos, options.photos, COCO_HW)

        def segment(*more: str) -> None:
            command = [sys.executable, "-m", "samrot", "segment", str(photos), *boxes, *more]
            out = str(Path(folder) / f"out_{next(numbers)}")
            subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)

        contestants: dict[str, Callable[[], object]] = {
            "one process": segment,
            "two processes": partial(segment, "--devices", "2"),
            "Ray, two workers": partial(segment, "--executor", "ray", "--devices", "2"),
        }
        return race(contestants, options.repeats)
