"""Photos and results wherever fsspec reaches: files here, ``s3://``, ``memory://``, tar files.

A place is a ``Path`` of a file here, or a URI as a string. A URI of a file here becomes its path.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.tar import TarFileSystem

from samrot.errors import InputError, MissingFileError
from samrot.files import replacing

Place = Path | str
_HERE = re.compile(r"(file|local)://")
_MEMBER = re.compile(r"tar://(?P<member>.+)::(?P<archive>.+)", re.DOTALL)


def find_place(text: str) -> Place:
    """The place that a text names: a path, or a URI."""
    if here := _HERE.match(text):
        return Path(text[here.end() :])
    return text if "://" in text else Path(text)


def join(folder: Place, name: str) -> Place:
    """A place below a folder."""
    return folder / name if isinstance(folder, Path) else f"{folder.rstrip('/')}/{name}"


def read_bytes(place: Place) -> bytes:
    """The content of a file.

    Raises:
        MissingFileError: if there is none.
        InputError: if it cannot be read.
    """
    try:
        if isinstance(place, Path):
            return place.read_bytes()
        with _reaching(place) as (system, path):
            content: bytes = system.cat_file(path)
            return content
    except FileNotFoundError as error:
        raise MissingFileError(f"image {place} does not exist; expected an image file") from error
    except OSError as error:
        raise InputError(
            f"image {place} cannot be read ({error.strerror or error}); make it readable, or leave "
            "it out"
        ) from error


def write_bytes(place: Place, content: bytes, *, like: Place | None = None) -> None:
    """Write a file, whole or not at all; folders above it are made.

    Args:
        place: where to.
        content: what to write.
        like: a file whose mode and times the file takes over; both must be here.

    Raises:
        OSError: if it cannot be written.
    """
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as partial:
            partial.write_bytes(content)
            if isinstance(like, Path):
                shutil.copystat(like, partial)
        return
    with _reaching(place) as (system, path):
        system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        system.pipe_file(path, content)


def copy_file(source: Path, place: Place) -> None:
    """Copy a file from here, in bounded memory.

    Raises:
        OSError: if it cannot be written.
    """
    if isinstance(place, Path):
        with replacing(place) as partial:
            shutil.copyfile(source, partial)
        return
    with _reaching(place) as (system, path):
        system.put_file(str(source), path)


def remove_files(folder: Place, *patterns: str) -> None:
    """Remove the files of a folder whose names match, first those of the first pattern.

    Raises:
        OSError: if one cannot be removed.
    """
    if isinstance(folder, Path):
        for pattern in patterns:
            for file in folder.glob(pattern):
                file.unlink(missing_ok=True)
        return
    with _reaching(folder) as (system, path):
        names = system.ls(path, detail=False) if system.exists(path) else []
        for pattern in patterns:
            for name in names:
                if fnmatch(PurePosixPath(name).name, pattern):
                    system.rm_file(name)


def normal(uri: str) -> str:
    """A URI as ``list_files`` gives it."""
    with _reaching(uri) as (system, path):
        found: str = system.unstrip_protocol(path)
        return found


def list_files(uri: str) -> dict[str, str]:
    """The files that a URI names, by their paths relative to the folder, or by their names.

    Args:
        uri: URI of a folder, whose subfolders are searched too, a pattern, or a file.
    """
    try:
        with _reaching(uri) as (system, path):
            if any(sign in path for sign in "*?["):
                files, above = system.glob(path), None
            elif system.isdir(path):
                files, above = system.find(path), path.rstrip("/") + "/"
            else:
                files, above = [path] if system.exists(path) else [], None
            return {
                file.removeprefix(above) if above else PurePosixPath(file).name: (
                    system.unstrip_protocol(file)
                )
                for file in sorted(files)
            }
    except OSError as error:
        raise InputError(f"images {uri} cannot be listed ({error.strerror or error})") from error


def list_members(archive: Place) -> dict[str, str]:
    """The files in a tar file, by name, as URIs.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is no tar file.
    """
    where = str(archive.resolve()) if isinstance(archive, Path) else archive
    return {
        name: f"tar://{name}::{where}"
        for name in sorted(_archive(where).find(""))
        if "::" not in name
    }


@lru_cache(maxsize=8)
def _archive(where: str) -> Any:
    """A tar file, read only where its members are."""
    try:
        return TarFileSystem(fo=where)
    except FileNotFoundError as error:
        raise MissingFileError(f"images {where} does not exist; expected a tar file") from error
    except Exception as error:
        raise InputError(
            f"images {where} cannot be read as a tar file ({_first_line(error)}); restore it"
        ) from error


@contextmanager
def _reaching(uri: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URI, and the path in it; what goes wrong is an error of samrot's.

    Raises:
        InputError: if there is no such storage, or the package for it is not installed.
        OSError: if it fails, naming the URI.
    """
    try:
        if member := _MEMBER.fullmatch(uri):
            system, path = _archive(member["archive"]), member["member"]
        else:
            system, path = fsspec.core.url_to_fs(uri)
    except InputError:
        raise
    except (ImportError, ValueError) as error:
        raise InputError(f"{uri} cannot be reached ({_first_line(error)})") from error
    try:
        yield system, path
    except FileNotFoundError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, _first_line(error), uri) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
