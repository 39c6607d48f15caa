"""Photos to work on, wherever they are, and the names of what is made of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path, PurePosixPath

from samrot.data.images import IMAGE_SUFFIXES, list_images
from samrot.data.photos import read_list, without_results
from samrot.data.storage import Place, find_place, list_files, list_members, normal
from samrot.errors import InputError, MissingFileError

_LIST, _TAR = ".txt", ".tar"
_ROOT = re.compile(r"^(\w+://|[A-Za-z]:|[/\\])+")


def name_photos(sources: Sequence[str], results: Sequence[Place]) -> dict[str, Place]:
    """Photos by the names of their results: relative to the folder, or tar file, that was named.

    Args:
        sources: files, folders and patterns, here or as URIs (``s3://...``); tar files of photos
            (WebDataset); text files that list photos and tar files, one a line.
        results: folders of results, in which there are no photos.

    Raises:
        MissingFileError: if a file, folder or pattern matches nothing.
        InputError: if there is no source, one is no text or cannot be read, or two photos would get
            the same name.
    """
    is_list = isinstance(sources, list | tuple) and len(sources) > 0
    if not is_list or not all(isinstance(source, str) and source for source in sources):
        raise InputError(f"images is {sources!r}; expected a list of files, folders and patterns")
    photos: dict[str, Place] = {}
    for source in sources:
        is_empty = True
        for name, place in _named(source, results):
            is_empty = False
            other = photos.setdefault(name, place)
            if other is not place and _identity(other) != _identity(place):
                raise InputError(
                    f"images {other} and {place} would both be written to {name}; name the folder "
                    "above them instead"
                )
        if is_empty:
            raise MissingFileError(
                f"images {source} does not exist, or holds no photo; expected a file or folder"
            )
    return photos


def _named(source: str, results: Sequence[Place]) -> Iterable[tuple[str, Place]]:
    """Names and places of the photos of one source."""
    place = find_place(source)
    if isinstance(place, Path) and place.is_dir():
        return _in_folder(place, [folder for folder in results if isinstance(folder, Path)])
    suffix = PurePosixPath(source).suffix.lower()
    if suffix == _LIST and isinstance(place, Path):
        return _in_list(place)
    if suffix == _TAR:
        return _in_tar(place)
    if isinstance(place, str):
        listed = list_files(place)
        if len(listed) == 1 or any(sign in place for sign in "*?["):
            return listed.items()
        below = tuple(f"{normal(folder)}/" for folder in results if isinstance(folder, str))
        return [
            (name, uri)
            for name, uri in listed.items()
            if _is_photo(name) and not uri.startswith(below)
        ]
    matches = [str(place)]
    if not place.is_file():
        matches = glob(str(place), recursive=True)  # noqa: PTH207 - patterns may be absolute
    files = [Path(match) for match in sorted(matches) if Path(match).is_file()]
    return [(path.name, path) for path in files]


def _in_folder(folder: Path, results: Sequence[Path]) -> Iterator[tuple[str, Place]]:
    paths: Sequence[Path] = list_images(folder)
    for out in results:
        if folder.resolve() == out.resolve():
            raise InputError(
                f"out is {out}, the folder of the photos; choose another, or one in it"
            )
        paths = without_results(paths, out)
    for path in paths:
        yield str(path.relative_to(folder)), path


def _in_list(path: Path) -> Iterator[tuple[str, Place]]:
    """The name of a listed photo is all of its path, since a list has no folder of its own."""
    for line in sorted(read_list(str(path))):
        place = find_place(line)
        if line.lower().endswith(_TAR):
            yield from _in_tar(place)
        else:
            yield _below(_ROOT.sub("", str(place)), place), place


def _in_tar(archive: Place) -> Iterator[tuple[str, Place]]:
    for member, uri in list_members(archive).items():
        if _is_photo(member):
            yield f"{PurePosixPath(str(archive)).stem}/{_below(member, uri)}", uri


def _below(name: str, place: Place) -> str:
    """A name that stays below the folder of the results."""
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        raise InputError(f"images {place} leads out of its folder; expected a path without ..")
    return name


def _is_photo(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _identity(place: Place) -> Place:
    return place.resolve() if isinstance(place, Path) else place
