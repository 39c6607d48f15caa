"""Which photos: folders, COCO files, and lists of what of them to include or leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from samrot.data.coco import FRAMES, CocoDataset
from samrot.data.images import list_images
from samrot.errors import InputError, MissingFileError


@dataclass(kw_only=True)
class PhotoSettings:
    """Upright photos.

    Args:
        images: folders of photos, searched with their subfolders.
        annotations: COCO JSON that lists the photos of the (one) folder to use.
        frame: frame of those annotations, and of their photos: stored or displayed (EXIF applied).
        include: text file of photos, the ends of their paths, one a line: only these are used.
        exclude: text file of the same kind: these are left out.
    """

    images: list[str] = field(default_factory=list)
    annotations: str | None = None
    frame: str = FRAMES[0]
    include: str | None = None
    exclude: str | None = None


def find_photos(source: PhotoSettings) -> tuple[list[Path], bool | None]:
    """The photo files of a source, and whether EXIF applies (under COCO JSON by its frame)."""
    paths, apply_exif = _find_all_photos(source)
    paths = [path for path in paths if _is_kept(path, source.include, source.exclude)]
    if not paths:
        raise InputError(
            f"include {source.include} and exclude {source.exclude} leave no photo of "
            f"{', '.join(source.images)}; expected the ends of paths, one a line"
        )
    return paths, apply_exif


def select_photos(dataset: CocoDataset, include: str | None, exclude: str | None) -> CocoDataset:
    """A dataset without the photos that the lists leave out; lists as in ``PhotoSettings``."""
    kept = [i for i in dataset.image_ids if _is_kept(dataset.image_path(i), include, exclude)]
    if len(kept) == len(dataset.images):
        return dataset
    if not kept:
        raise InputError(
            f"include {include} and exclude {exclude} leave no photo of {dataset.source}"
        )
    return dataset.part(kept)


def _is_kept(path: Path, include: str | None, exclude: str | None) -> bool:
    if include is not None and not _is_listed(path, read_list(include)):
        return False
    return exclude is None or not _is_listed(path, read_list(exclude))


@lru_cache
def read_list(path: str) -> frozenset[str]:
    """The lines of a text file that are not empty."""
    if not Path(path).is_file():
        raise MissingFileError(f"list {path} does not exist; expected a text file of paths")
    return frozenset(line.strip() for line in Path(path).read_text().splitlines() if line.strip())


def _is_listed(path: Path, ends: frozenset[str]) -> bool:
    parts = path.parts
    return any("/".join(parts[start:]) in ends for start in range(len(parts)))


def _find_all_photos(source: PhotoSettings) -> tuple[list[Path], bool | None]:
    if not source.images:
        raise InputError("data.images is empty; expected a folder of upright photos")
    if source.annotations is None:
        return [path for folder in source.images for path in list_images(folder)], True
    if len(source.images) != 1:
        raise InputError(
            f"data.annotations with {len(source.images)} image folders; expected one folder"
        )
    dataset = CocoDataset.load(source.images[0], source.annotations, source.frame)
    return [
        dataset.image_path(image_id) for image_id in dataset.image_ids
    ], source.frame == "displayed"


def without_results(paths: Sequence[Path], out: Path) -> list[Path]:
    """Photos but for those below the folder of results, which are pictures of an earlier run."""
    results = out.resolve()
    return [path for path in paths if results not in path.resolve().parents]
