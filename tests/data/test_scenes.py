from pathlib import Path

import numpy as np

from samrot.data.coco import CocoDataset
from samrot.data.coco_writer import write_scenes
from samrot.data.scene_objects import CATEGORIES
from samrot.data.scenes import draw_scene


def test_masks_are_disjoint_and_belong_to_the_picture() -> None:
    assert len(CATEGORIES) >= 8
    seen = set()
    for seed in range(8):
        scene = draw_scene(np.random.default_rng(seed), (240, 320))
        assert scene.image.shape == (240, 320, 3)
        assert scene.image.dtype == np.uint8
        assert scene.masks.shape[1:] == (240, 320)
        assert scene.masks.sum(axis=0).max(initial=0) <= 1
        seen |= set(scene.category_ids.tolist())
    assert len(seen) >= 8


def test_same_seed_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scenes(tmp_path / name, 2, seed=1)
    write_scenes(tmp_path / "c", 2, seed=2)
    files = [sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in "abc"]
    contents = [[p.read_bytes() for p in paths] for paths in files]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_written_dataset_is_coco(scenes: CocoDataset) -> None:
    assert len(scenes.image_ids) == 6
    instances = [a for i in scenes.image_ids for a in scenes.instances(i)]
    assert len(instances) > 12
    for annotation in instances:
        mask = scenes.mask(annotation)
        assert mask.sum() == annotation["area"]
        x, y, w, h = annotation["bbox"]
        assert mask[int(y) : int(y + h), int(x) : int(x + w)].sum() == annotation["area"]
