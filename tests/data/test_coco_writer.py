from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samrot.data.coco import CocoDataset
from samrot.data.coco_writer import write_moved, write_scenes
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from tests.data.test_coco import load, small_content


@pytest.mark.parametrize("element", range(8))
def test_moved_dataset(element: int, scenes: CocoDataset, tmp_path: Path) -> None:
    write_moved(scenes, tmp_path / "turned", element)
    folder = tmp_path / "turned"
    turned = CocoDataset.load(folder / "images", folder / "annotations.json")
    assert turned.content["categories"] == scenes.content["categories"]
    for image_id in scenes.image_ids:
        upright = scenes.read(image_id)
        assert np.array_equal(turned.read(image_id), move_image(upright, element))
        pairs = zip(
            scenes.annotations_by_image[image_id],
            turned.annotations_by_image[image_id],
            strict=True,
        )
        for before, after in pairs:
            mask = turned.mask(after)
            assert np.array_equal(mask, move_image(scenes.mask(before), element))
            x, y, w, h = after["bbox"]
            assert mask[int(y) : int(y + h), int(x) : int(x + w)].sum() == after["area"]


def test_nothing_is_overwritten_or_half_written(scenes: CocoDataset, tmp_path: Path) -> None:
    target = tmp_path / "turned"
    target.mkdir()
    with pytest.raises(InputError, match="exists; choose a new one"):
        write_moved(scenes, target, 1)
    with pytest.raises(InputError, match="exists; choose a new one"):
        write_scenes(target, 1, seed=0)
    scenes.content["images"][-1]["height"] += 1  # found only when its turn comes
    with pytest.raises(InputError, match="do not belong together"):
        write_moved(CocoDataset(scenes.image_folder, scenes.content, "x"), tmp_path / "new", 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["turned"]


def test_polygons_stay_polygons(tmp_path: Path) -> None:
    content = small_content()
    content["info"], content["licenses"] = {"year": 2017}, [{"id": 1, "name": "CC"}]
    dataset = load(tmp_path / "d", content)
    write_moved(dataset, tmp_path / "turned", 1)
    written = json.loads((tmp_path / "turned" / "annotations.json").read_text())
    assert (written["info"], written["licenses"]) == (content["info"], content["licenses"])
    polygon = written["annotations"][0]["segmentation"]
    # (x, y) to (y, W - x), W = 30.
    assert polygon == [[3, 28, 3, 18, 11, 18, 11, 28]]
    turned = CocoDataset.load(
        tmp_path / "turned" / "images", tmp_path / "turned" / "annotations.json"
    )
    mask = dataset.mask(dataset.instances(7)[0])
    assert np.array_equal(turned.mask(turned.instances(7)[0]), np.rot90(mask))
