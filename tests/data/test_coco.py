from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samrot.data.coco import CocoDataset, find_coco
from samrot.errors import InputError, MissingFileError
from samrot.geometry import exact
from samrot.geometry.pose import exif_element
from samrot.geometry.rle import encode_mask
from tests.conftest import random_photo, write_coco


def small_content() -> dict[str, Any]:
    square = {"category_id": 3, "image_id": 7, "iscrowd": 0}
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [
            {**square, "id": 2, "bbox": [2, 3, 10, 8], "area": 80,
             "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]]},
            {**square, "id": 1, "bbox": [0, 0, 0, 0], "area": 0,
             "segmentation": [[1, 1, 1, 1, 1, 1]]},
            {**square, "id": 5, "bbox": [0, 0, 5, 20], "area": 100, "iscrowd": 1,
             "segmentation": {"size": [20, 30], "counts": [0, 100, 500]}},
        ],
    }  # fmt: skip


def load(folder: Path, content: object) -> CocoDataset:
    return CocoDataset.load(*write_coco(folder, content, {"a.png": random_photo(0, 20, 30)}))


def test_reads_masks_of_every_kind(tmp_path: Path) -> None:
    dataset = load(tmp_path / "d", small_content())
    assert [a["id"] for a in dataset.annotations_by_image[7]] == [1, 2, 5]
    assert [a["id"] for a in dataset.instances(7)] == [2]
    polygon, crowd = (dataset.mask(dataset.annotations_by_image[7][i]) for i in (1, 2))
    assert polygon.sum() == 80
    assert crowd[:, :5].all()
    assert crowd.sum() == 100
    assert dataset.read(7).shape == (20, 30, 3)


def broken(change: Any) -> object:
    content = copy.deepcopy(small_content())
    return change(content) or content


def annotation(**changes: object) -> object:
    return broken(lambda c: c["annotations"][0].update(changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", r"annotations\.json is not JSON"),
        ([1, 2], "is not COCO: it has no list 'images'"),
        ({"images": [], "annotations": [], "categories": []}, "lists no images"),
        (broken(lambda c: c.pop("categories") and None), "no list 'categories'"),
        (broken(lambda c: c["annotations"][0].update(image_id=9)), "image 9, which is not listed"),
        (broken(lambda c: c["annotations"][0].update(category_id=4)), "category 4, which is not"),
        (broken(lambda c: c["annotations"][0].pop("bbox") and None), "entry 2 lacks 'bbox'"),
        (broken(lambda c: c["annotations"][0].update(id=1)), "annotations id 1 occurs twice"),
        (broken(lambda c: c["images"][0].update(file_name="../a.png")), "climbs out of the image"),
        (broken(lambda c: c["images"][0].update(file_name=7)), "image 7 has the file_name 7"),
        (broken(lambda c: c["images"][0].update(height=0)), "image 7 has the height 0; expected"),
        (broken(lambda c: c["images"][0].update(id="7")), "images entry '7' has the id '7'; exp"),
        (annotation(category_id=3.5), "entry 2 has the category_id 3.5; expected a whole number"),
        (annotation(category_id="3"), "entry 2 has the category_id '3'; expected a whole number"),
        (annotation(bbox=[2, 3, float("nan"), 8]), "it holds NaN, which is no number"),
        (annotation(bbox=[2, 3, float("inf"), 8]), "it holds Infinity, which is no number"),
        (annotation(bbox=[2, 3, 1e300, 8]), r"annotation 2 has the box \[2, 3, 1e\+300, 8\]"),
        (annotation(bbox=[2, 3, -10, 8]), "annotation 2 has the box .* whose size is negative"),
        (annotation(bbox=[2, 3, 10**400, 8]), "annotation 2 has the box .* four finite numbers"),
        (annotation(bbox=[52, 3, 10, 8]), "annotation 2 has the box .* beside its image of 20x30"),
        (annotation(bbox=[2, 3, 10]), "annotation 2 has the box .* four finite numbers"),
        (annotation(bbox=None), "annotation 2 has the box None; expected x, y, width and height"),
        (annotation(area="big"), "annotation 2 has area 'big'; expected square pixels"),
        (annotation(area=-1), "annotation 2 has area -1; expected square pixels"),
        (annotation(iscrowd=2), "annotation 2 has iscrowd 2; expected 0 or 1"),
        (annotation(segmentation=[]), "annotation 2 has an empty segmentation; expected poly"),
        (annotation(segmentation=[[2, 3, 12, 3]]), r"annotation 2 has the polygon \[2, 3, 12, 3\]"),
        (annotation(segmentation=[[1, 2, 3, 4, 5, 1e9]]), "annotation 2 has the polygon"),
        (annotation(segmentation=None), "annotation 2 has a segmentation of type NoneType"),
        (
            annotation(segmentation={"size": [30, 20], "counts": [600]}),
            r"annotation 2 has an RLE of size \[30, 20\], but its image is \[20, 30\]",
        ),
        (
            annotation(segmentation={"size": [20, 30], "counts": [0, 100_000_000]}),
            "annotation 2 has an RLE of 100000000 pixels; expected 600, those of its image",
        ),
        (annotation(segmentation={"size": [20, 30], "counts": "zz"}), "an RLE of no pixels"),
        (annotation(segmentation={"size": [20, 30], "counts": "PPPn0"}), "an RLE of .* pixels"),
        (broken(lambda c: c["images"][0].update(file_name="/a.png")), "climbs out of the image"),
    ],
)
def test_bad_annotations(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path / "d", content)


def test_rles_of_any_length_are_measured(tmp_path: Path) -> None:
    """Compressed counts are added up without decoding them."""
    from samrot.data.coco_checks import _rle_length

    random = np.random.default_rng(0)
    for share in (0.0, 0.001, 0.1, 0.5, 1.0):
        for shape in ((1, 1), (7, 9), (300, 401)):
            rle = encode_mask(random.random(shape) < share)
            assert _rle_length(rle["counts"]) == shape[0] * shape[1]


def test_what_tools_leave_out_is_filled_in(tmp_path: Path) -> None:
    content = small_content()
    for record in content["annotations"][:2]:
        del record["iscrowd"], record["area"]
    with pytest.warns(UserWarning) as caught:
        dataset = load(tmp_path / "d", content)
    assert [str(w.message).partition("json: ")[2] for w in caught] == [
        "2 of 3 annotations have no iscrowd; it is taken to be 0",
        "2 of 3 annotations have no area; it is taken to be that of the mask, or else of the box",
    ]
    assert [a["area"] for a in dataset.annotations_by_image[7]] == [0, 80, 100]
    assert [a["iscrowd"] for a in dataset.annotations_by_image[7]] == [0, 0, 1]


def test_sizes_are_those_of_the_photos(tmp_path: Path) -> None:
    content = small_content()
    del content["images"][0]["height"]
    with pytest.warns(UserWarning, match="1 of 1 images have no height and width; they are those"):
        dataset = load(tmp_path / "d", content)
    assert dataset.size_hw(7) == (20, 30)


def test_boxes_alone(tmp_path: Path) -> None:
    content = small_content()
    for annotation in content["annotations"]:
        annotation.pop("segmentation")
    content["annotations"][0].pop("area")
    with pytest.warns(UserWarning) as caught:
        dataset = load(tmp_path / "d", content)
    assert [str(w.message).partition("json: ")[2].partition(";")[0] for w in caught] == [
        "3 of 3 annotations have no segmentation",
        "1 of 3 annotations have no area",
    ]
    assert not dataset.has_masks
    assert [a["area"] for a in dataset.instances(7)] == [80]
    with pytest.raises(InputError, match="annotation 2 has no segmentation; expected the masks"):
        dataset.mask(dataset.instances(7)[0])


def test_annotations_of_displayed_photos(tmp_path: Path) -> None:
    """A photo that is stored turned: 20 x 30 as displayed, 30 x 20 in the file."""
    images, annotations = write_coco(tmp_path / "d", small_content(), {})
    displayed, exif = random_photo(0, 20, 30), Image.Exif()
    exif[0x0112] = 6
    stored = exact.move_image(displayed, exif_element(6))
    Image.fromarray(stored).save(images / "a.png", exif=exif)
    dataset = CocoDataset.load(images, annotations, "displayed")
    assert np.array_equal(dataset.read(7), displayed)
    with (
        pytest.warns(UserWarning, match="EXIF orientation 6 is ignored"),
        pytest.raises(InputError, match="its EXIF orientation is the cause: .* data.frame to disp"),
    ):
        CocoDataset.load(images, annotations).read(7)
    content = small_content()
    content["images"][0].pop("width")
    annotations.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="no height and width"):
        assert CocoDataset.load(images, annotations, "displayed").size_hw(7) == (20, 30)
    with pytest.raises(InputError, match=r"data\.frame is 'turned'; expected one of: stored"):
        CocoDataset.load(images, annotations, "turned")


def test_missing_and_mismatched(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"data\.images .* does not exist"):
        CocoDataset.load(tmp_path / "none", tmp_path / "none.json")
    with pytest.raises(MissingFileError, match=r"data\.annotations .* does not exist"):
        CocoDataset.load(tmp_path, tmp_path / "none.json")
    content = small_content()
    content["images"][0]["height"] = 21
    content["annotations"][2]["segmentation"] = [[0, 0, 5, 0, 5, 20, 0, 20]]
    with pytest.raises(InputError, match=r"is 20x30 .* records 21x30"):
        load(tmp_path / "d", content).read(7)


def test_find_coco(tmp_path: Path, scenes_folder: Path) -> None:
    assert find_coco(scenes_folder) == (
        scenes_folder / "images",
        scenes_folder / "annotations.json",
    )
    with pytest.raises(InputError, match=r"found: none; use samrot evaluate"):
        find_coco(tmp_path)
    beside = tmp_path / "coco"
    images, annotations = write_coco(beside, small_content(), {"a.png": random_photo(0, 20, 30)})
    images.rename(beside / "val")
    (beside / "annotations").mkdir()
    annotations.rename(beside / "annotations" / "instances_val.json")
    found = (beside / "val", beside / "annotations" / "instances_val.json")
    assert find_coco(beside / "val") == found
    assert find_coco(beside) == found
    (beside / "images").mkdir()
    (beside / "val").rename(beside / "images" / "val")
    assert find_coco(beside) == (beside / "images" / "val", found[1])
    (beside / "images" / "val").rename(beside / "val")
    train = tmp_path / "export" / "train"  # photos and JSON in one folder
    train.mkdir(parents=True)
    shutil.copy(beside / "val" / "a.png", train)
    shutil.copy(found[1], train / "_annotations.coco.json")
    assert find_coco(train.parent) == (train, train / "_annotations.coco.json")
    assert json.loads(found[1].read_text())["images"]
    assert np.array_equal(CocoDataset.load(*found).read(7), random_photo(0, 20, 30))
