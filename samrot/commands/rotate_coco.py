"""``samrot rotate-coco``: write a dataset turned and mirrored, as lossless PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samrot.data.coco import CocoDataset, find_coco
from samrot.data.coco_writer import write_moved
from samrot.evaluation.views import find_views
from samrot.runtime.run_folder import RunFolder


@dataclass(kw_only=True)
class RotatedData:
    """What was turned: the config of the folder that is made.

    Args:
        images: folder of the photos.
        annotations: COCO JSON.
    """

    images: str
    annotations: str


def rotate_coco(source: str, target: str, keys: Sequence[str], annotations: str | None) -> None:
    """Write a folder for each view of a dataset, but for those that are there already.

    Args:
        source: folder of a COCO dataset: photos, and a JSON below it.
        target: folder to make; each view gets a folder in it.
        keys: angles, 0 to 270; with an m before, mirrored left-right first.
        annotations: COCO JSON, if it is not below the source.

    Raises:
        InputError: if the dataset is unusable, or the target holds another one, or something else.
    """
    if annotations is None:
        images, path = find_coco(Path(source))
    else:
        images, path = Path(source), Path(annotations)
    dataset = CocoDataset.load(images, path)
    run = RunFolder.open(target, RotatedData(images=str(images), annotations=str(path)))
    with run.held():
        run.check_inputs({"annotations": path})
        for view in find_views((), "d4"):
            folder = run.path / view.file_key
            if view.key in keys and not folder.exists():
                write_moved(dataset, folder, view.pose.element)
