"""The files that labelled photos come in: class folders, zips of them, CIFAR's python batches.

Each reader takes (path, split) and gives a way to read photo n, the labels, and the names of the
classes, unchecked.
"""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from samrot.data.images import IMAGE_SUFFIXES, list_images, read_image
from samrot.errors import InputError, MissingFileError
from samrot.wording import counted

# Photo n as (H, W, 3) uint8, labels, classes.
Classified = tuple[Callable[[int], np.ndarray], Sequence[int], Sequence[str]]
LARGEST_MEMBER = 1 << 28  # bytes of a photo in a zip, unpacked: more is no photo
_ZIP_FAILURES = (BadZipFile, OSError, EOFError, ValueError, LookupError, RuntimeError, zlib.error)
_PICKLE_FAILURES = (
    pickle.UnpicklingError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError,
    ImportError, MemoryError,
)  # fmt: skip
# Kind of batches -> files of each split, file of the names; keys of labels and names.
_CIFAR = {
    "batches.meta": (
        {"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]},
        b"labels",
        b"label_names",
    ),
    "meta": ({"train": ["train"], "test": ["test"]}, b"fine_labels", b"fine_label_names"),
}
# Names of functions in the pickles -> what is called: arrays and their types, and nothing else.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read_folder(path: Path, split: str) -> Classified:
    """``CLASS/*.jpg``, photos of a class in folders below it too; EXIF is applied."""
    files = list_images(path)
    names = [file.relative_to(path).as_posix() for file in files]
    return partial(_read_file, files), *_labels_of(names, path)


def _read_file(files: Sequence[Path], n: int) -> np.ndarray:
    return read_image(files[n])


def read_zip(path: Path, split: str) -> Classified:
    """A folder of that kind in a zip, read where it lies: nothing is unpacked.

    Raises:
        InputError: if a member would lie outside of the folder that it is unpacked to, or is larger
            than any photo.
    """
    try:
        members = _archive(path, os.getpid()).infolist()
    except _ZIP_FAILURES as error:
        raise InputError(_damaged(path, error)) from error
    for member in members:
        if _climbs_out(member.filename):
            raise InputError(
                f"data.images {path} holds {member.filename!r}, which leads out of it; expected "
                "names below the zip: make it again"
            )
    names = sorted(m.filename for m in members if _is_photo(m.filename))
    sizes = {member.filename: member.file_size for member in members}
    for name in names:
        if sizes[name] > LARGEST_MEMBER:
            raise InputError(
                f"data.images {path}: {name} has {sizes[name]} bytes; expected a photo, at most "
                f"{LARGEST_MEMBER}"
            )
    return partial(_read_member, path, names), *_labels_of(_below_one_folder(names), path)


def _read_member(path: Path, names: Sequence[str], n: int) -> np.ndarray:
    try:
        content = _archive(path, os.getpid()).read(names[n])
    except _ZIP_FAILURES as error:
        raise InputError(_damaged(path, error)) from error
    return read_image(f"{path}/{names[n]}", content=content)


@lru_cache(maxsize=8)
def _archive(path: Path, process: int) -> ZipFile:
    """A zip, opened once in each process: two that share a file would move each other's place."""
    return ZipFile(path)


def _damaged(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"data.images {path} cannot be read ({reason}); it is damaged, or no such file: restore it"
    )


def _climbs_out(name: str) -> bool:
    """Whether a member's name is absolute or goes up, on any system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts


def _is_photo(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _below_one_folder(names: Sequence[str]) -> list[str]:
    """Names without the one folder that holds all class folders, if there is one."""
    parts = [PurePosixPath(name).parts for name in names]
    if len({each[0] for each in parts}) == 1 and all(len(each) > 2 for each in parts):
        return [str(PurePosixPath(*each[1:])) for each in parts]
    return list(names)


def _labels_of(names: Sequence[str], path: Path) -> tuple[list[int], list[str]]:
    """Labels and classes, by name, of photos that lie in class folders."""
    folders = [PurePosixPath(name).parts[0] for name in names]
    for name, folder in zip(names, folders, strict=True):
        if name == folder:
            raise InputError(
                f"data.images {path} holds {name}, which is in no class folder; expected "
                "CLASS/PHOTO for each"
            )
    classes = sorted(set(folders))
    number = {name: label for label, name in enumerate(classes)}
    return [number[folder] for folder in folders], classes


def read_cifar(path: Path, split: str) -> Classified:
    """CIFAR-10's or CIFAR-100's python batches; only arrays are unpickled, no code."""
    listing = next(name for name in _CIFAR if (path / name).is_file())
    files, labels_key, names_key = _CIFAR[listing]
    classes = [name.decode() for name in _unpickled(path / listing, names_key)]
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    for file in files[split]:
        rows, own = _unpickled(path / file, b"data", labels_key)
        if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3072,):
            raise InputError(
                f"data.images {path / file} holds no photos of 32 x 32 x 3 bytes; restore the file"
            )
        pixels.append(rows.reshape(-1, 3, 32, 32))
        labels += [int(label) for label in own]
    photos = np.ascontiguousarray(np.concatenate(pixels).transpose(0, 2, 3, 1))
    if len(photos) != len(labels):
        raise InputError(
            f"data.images {path} has {counted(len(photos), 'photo')} and "
            f"{counted(len(labels), 'label')}; expected one for each: restore the files"
        )
    return photos.__getitem__, labels, classes


def is_cifar(path: Path) -> bool:
    """Whether a folder holds CIFAR's python batches."""
    return any((path / name).is_file() for name in _CIFAR)


class _ArraysOnly(pickle.Unpickler):
    """Calls nothing that a pickle names, but what makes arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds code, {module}.{name}")
        return super().find_class(module, name)


def _unpickled(path: Path, *keys: bytes) -> Any:
    """The values of some keys of a batch; the value alone where there is one key."""
    if not path.is_file():
        raise MissingFileError(f"data.images {path} does not exist; expected a batch of CIFAR")
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
        values = [content[key] for key in keys]
    except _PICKLE_FAILURES as error:
        raise InputError(_damaged(path, error)) from error
    return values[0] if len(keys) == 1 else values
