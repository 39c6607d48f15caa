"""The files that clouds come in: NPZ, HDF5, meshes, ShapeNet's parts.

Each reader takes (path, split, num_points) and gives clouds, labels and names of the classes,
unchecked.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from samrot.errors import InputError, MissingFileError

Labelled = tuple[Sequence[np.ndarray], Sequence[int | np.ndarray], Sequence[str]]
MESHES = (".off", ".ply")
SPLITS = ("train", "test")
# What readers raise on files that are damaged or of another layout.
FAILURES = (
    OSError, BadZipFile, zlib.error, EOFError, LookupError, ValueError, TypeError, AttributeError,
)  # fmt: skip
SAMPLED = 1024  # points of a mesh, where nothing is said
NUM_PARTS = 50  # over all categories of ShapeNet's parts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of any error of a reader which file it is, in one line."""
    try:
        yield
    except FAILURES as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"data.clouds {path} cannot be read ({reason}); it is damaged or of another layout: "
            "restore the file"
        ) from error


def _module(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise InputError(
            f"data.clouds needs {name}, which is not installed; pip install 'samrot[points]'"
        ) from error


def read_npz(path: Path, split: str, num_points: int | None) -> Labelled:
    """``points_SPLIT`` (M, N, 3), ``labels_SPLIT`` (M,), or (M, N) of parts; ``names``."""
    with _reading(path), np.load(path, allow_pickle=False) as file:
        points, labels = file[f"points_{split}"], file[f"labels_{split}"]
        return points, list(labels.astype(np.int64)), [str(name) for name in file["names"]]


def read_hdf5(path: Path, split: str, num_points: int | None) -> Labelled:
    """One file, or the ones that ``SPLIT_files.txt`` of a folder names: ``data`` and ``label``.

    Names of classes are read from ``shape_names.txt`` beside them; without it they are numbers.
    """
    h5py = _module("h5py")
    folder, files = path.parent, [path]
    if path.is_dir():
        lines = (path / f"{split}_files.txt").read_text().split()
        # The published lists name files as they lay in their authors' folders.
        folder, files = path, [path / Path(line).name for line in lines]
    points: list[np.ndarray] = []
    labels: list[int] = []
    for each in files:
        if not each.is_file():
            raise MissingFileError(f"data.clouds {each} does not exist, but {path} lists it")
        with _reading(each), h5py.File(each, "r") as file:
            points += list(file["data"][:])
            labels += file["label"][:].reshape(-1).astype(np.int64).tolist()
    names = folder / "shape_names.txt"
    if names.is_file():
        return points, labels, names.read_text().split()
    return points, labels, [str(number) for number in range(max(labels, default=-1) + 1)]


def read_meshes(path: Path, split: str, num_points: int | None) -> Labelled:
    """``CLASS/SPLIT/*.off``, as in ModelNet40, or PLY; points drawn evenly from the surface.

    The points of a mesh are always the same: they are drawn with its number as seed.
    """
    trimesh = _module("trimesh")
    classes = sorted({folder.parent.name for s in SPLITS for folder in path.glob(f"*/{s}")})
    points: list[np.ndarray] = []
    labels: list[int | np.ndarray] = []
    for label, name in enumerate(classes):
        folder = path / name / split
        if not folder.is_dir():
            raise MissingFileError(
                f"data.clouds {folder} does not exist; expected the same classes in train and test"
            )
        for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in MESHES):
            with _reading(file):
                mesh = trimesh.load(file, force="mesh")
                sampled, _ = trimesh.sample.sample_surface(
                    mesh, num_points or SAMPLED, seed=len(points)
                )
            points.append(np.asarray(sampled))
            labels.append(label)
    return points, labels, classes


def read_parts(path: Path, split: str, num_points: int | None) -> Labelled:
    """ShapeNet's parts: ``SYNSET/ID.txt``, a point a row, its part last; and lists of splits."""
    listing = path / "train_test_split" / f"shuffled_{split}_file_list.json"
    if not listing.is_file():
        raise MissingFileError(
            f"data.clouds {listing} does not exist; expected the list of {split}"
        )
    with _reading(listing):
        files = [path / Path(*Path(name).parts[-2:]) for name in json.loads(listing.read_text())]
    points: list[np.ndarray] = []
    labels: list[int | np.ndarray] = []
    for file in files:
        with _reading(file.with_suffix(".txt")):
            rows = np.loadtxt(file.with_suffix(".txt"), ndmin=2)
            points.append(rows[:, :3])
            labels.append(rows[:, -1].astype(np.int64))
    return points, labels, [str(part) for part in range(NUM_PARTS)]
