"""``samrot rotate-coco``: write a dataset turned and mirrored, as lossless PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samrot.data.coco import CocoDataset, find_coco
from samrot.data.coco_writer import write_moved
from samrot.evaluation.views import find_views


def rotate_coco(source: str, target: str, keys: Sequence[str], annotations: str | None) -> None:
    """Write a folder for each view of a dataset.

    Args:
        source: folder of a COCO dataset: photos, and a JSON below it.
        target: folder to make; each view gets a folder in it.
        keys: angles, 0 to 270; with an m before, mirrored left-right first.
        annotations: COCO JSON, if it is not below the source.
    """
    if annotations is None:
        images, path = find_coco(Path(source))
    else:
        images, path = Path(source), Path(annotations)
    dataset = CocoDataset.load(images, path)
    for view in find_views((), "d4"):
        if view.key in keys:
            write_moved(dataset, Path(target) / view.file_key, view.pose.element)
