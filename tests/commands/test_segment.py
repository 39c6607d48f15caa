"""``samrot segment``: files in, masks out, and bad files passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from samrot import load_canonicalizer, read_image
from samrot.cli import main
from samrot.commands.bursts import find_bursts
from samrot.commands.segment_results import result_folders
from samrot.data.coco import CocoDataset
from samrot.data.prompt_files import describe_prompt, prompts_from_numbers, read_prompts
from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from tests.segmenters.test_contract import disc_photo

BOX = ["--box", "16", "14", "45", "43"]
FILLED = [*BOX, "--segmenter.name", "box"]  # where masks do not matter


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo of a disc, the same turned, one that says so by EXIF, and one that is broken."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    photo = disc_photo()
    Image.fromarray(photo).save(folder / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by viewers
    Image.fromarray(exact.move_image(photo, 1)).save(folder / "sub" / "tagged.png", exif=exif)
    (folder / "broken.jpg").write_bytes(b"not a photo")
    return folder


def read_masks(folder: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    content = json.loads((folder / "masks.json").read_text())
    files = [np.asarray(Image.open(folder / found["file"])) > 0 for found in content["objects"]]
    for found, mask in zip(content["objects"], files, strict=True):
        assert np.array_equal(coco_mask.decode(found["segmentation"]).astype(bool), mask)
        assert found["area"] == mask.sum()
        assert found["bbox"] == coco_mask.toBbox(found["segmentation"]).tolist()
    assert len(list(folder.glob("mask_*.png"))) == len(files)
    return content, files


def test_a_folder_with_a_bad_file(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(photos), *BOX, "--point", "30", "28", "--out", str(out)]) == 1
    output = capsys.readouterr()
    assert "4 objects; masks and overlays" in output.out
    assert "failed: " in output.err
    assert "broken.jpg cannot be decoded" in output.err
    content, masks = read_masks(out / "upright")
    assert [found["prompt"]["box"] for found in content["objects"]] == [[16, 14, 45, 43], None]
    y, x = np.mgrid[:56, :72]
    disc = (x - 30) ** 2 + (y - 28) ** 2 < 14**2
    assert (masks[0] & disc).sum() / (masks[0] | disc).sum() > 0.7
    tagged, same = read_masks(out / "sub" / "tagged")
    assert np.array_equal(same[0], masks[0])
    assert tagged["pose"] == content["pose"]
    height, width, _ = np.asarray(Image.open(out / "upright" / "overlay.png")).shape
    assert (height, width) >= (56, 72)  # a legend, and the photo put upright beside
    # All of it in one COCO file, which samrot reads, and an index.
    dataset = CocoDataset.load(photos, out / "annotations.json")
    assert [dataset.images[i]["file_name"] for i in dataset.image_ids] == [
        "sub/tagged.png", "upright.png",
    ]  # fmt: skip
    assert np.array_equal(dataset.mask(dataset.instances(2)[0]), masks[0])
    index = json.loads((out / "index.json").read_text())
    assert [(photo["folder"], photo["objects"]) for photo in index["photos"]] == [
        ("sub/tagged", 2), ("upright", 2),
    ]  # fmt: skip
    assert list(index["failed"]) == [str(photos / "broken.jpg")]
    assert "sam_mini is a small model for demonstration" in output.err
    # In the stored frame, which is another run.
    options = ["segment", str(photos / "sub"), *BOX, "--frame", "stored", "--out"]
    assert main([*options, str(out)]) == 2
    assert "holds a run with other settings (frame, images, point)" in capsys.readouterr().err
    assert main([*options, str(tmp_path / "stored")]) == 0
    _, stored = read_masks(tmp_path / "stored" / "tagged")
    assert np.array_equal(stored[0], exact.move_image(masks[0], 1))


def test_uncertain_poses_are_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    Image.new("RGB", (72, 56)).save(photos / "black.png")
    options = [str(photos / "black.png"), str(photos / "upright.png"), *FILLED, "--out", str(out)]
    assert main(["segment", *options, "--min_confidence", "0.3"]) == 0
    err = capsys.readouterr().err
    assert "1 uncertain pose, of a probability below 0.3: " in err
    assert "black.png (0.25); look at their overlays" in err
    content, _ = read_masks(out / "black")
    assert (content["pose_confidence"], content["pose_uncertain"]) == (0.25, True)
    content, _ = read_masks(out / "upright")
    assert content["pose_uncertain"] is False
    assert content["tilt_deg"] == 0
    assert main(["segment", *options, "--tilt", "half"]) == 2
    assert "tilt is 'half'; expected one of: quarter, full, auto" in capsys.readouterr().err


def test_masks_of_the_upright_photo(photos: Path, tmp_path: Path) -> None:
    for frame in ("displayed", "upright"):
        options = [*FILLED, "--frame", frame, "--out", str(tmp_path / frame)]
        assert main(["segment", str(photos / "upright.png"), *options]) == 0
    content, (displayed,) = read_masks(tmp_path / "displayed" / "upright")
    _, (upright,) = read_masks(tmp_path / "upright" / "upright")
    to_upright = PlaneTransform.to_canonical(Pose(content["pose"]), displayed.shape)
    assert np.array_equal(upright, to_upright.masks(displayed))


def test_photos_without_prompts_are_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "prompts.csv", tmp_path / "out"
    path.write_text("image,x0,y0,x1,y1\nupright.png,16,14,45,43\n")
    assert main(["segment", str(photos), "--prompts", str(path), "--out", str(out)]) == 0
    err = capsys.readouterr().err
    assert f"2 photos without prompts in {path}, left out: " in err
    assert "failed" not in err
    assert (out / "upright" / "masks.json").is_file()


def test_folders_of_results_never_collide() -> None:
    assert result_folders(["a.jpg", "b/a.jpg", "c.jpg", "C.png", "d.x.jpg"]) == {
        "a.jpg": "a", "b/a.jpg": "b/a", "c.jpg": "c.jpg", "C.png": "C.png", "d.x.jpg": "d.x",
    }  # fmt: skip
    names = ["a.jpg", "a.png", "a.png.jpg"]
    assert len(set(result_folders(names).values())) == len(names)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_prompts_from_a_file(suffix: str, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / f"prompts{suffix}"
    if suffix == ".csv":
        path.write_text(
            "image,x0,y0,x1,y1,x,y,label,object\n"
            "upright.png,16,14,45,43,,,,\n"
            "upright.png,16,14,45,43,30,28,1,disc\n"
            "upright.png,,,,,2,2,0,disc\n"
        )
    else:
        both = {"box": [16, 14, 45, 43], "points": [[30, 28], [2, 2]], "labels": [1, 0]}
        path.write_text(json.dumps({"upright.png": [{"box": [16, 14, 45, 43]}, both]}))
    box = [16.0, 14.0, 45.0, 43.0]
    expected = [
        {"box": box, "points": [], "labels": []},
        {"box": box, "points": [[30.0, 28.0], [2.0, 2.0]], "labels": [1, 0]},
    ]
    found = read_prompts(path)
    assert list(found) == ["upright.png"]
    assert [describe_prompt(prompt) for prompt in found["upright.png"]] == expected
    out = tmp_path / "out"
    pattern = str(photos / "up*.png")
    assert main(["segment", pattern, "--prompts", str(path), "--out", str(out)]) == 0
    assert len(read_masks(out / "upright")[1]) == 2


def test_everything(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = main(
        ["segment", str(photos / "upright.png"), "--everything", "--out", str(out),
         "--grid.points_per_side", "4", "--grid.pred_iou_thresh", "0.3",
         "--grid.stability_score_thresh", "0.3"]
    )  # fmt: skip
    assert code == 0
    content, masks = read_masks(out / "upright")
    assert masks
    assert all(found["prompt"] is None for found in content["objects"])


def test_boxes_and_points_add_up(photos: Path, tmp_path: Path) -> None:
    photo, out = str(photos / "upright.png"), tmp_path / "out"
    click = ["--point", "30", "28", "--label", "1", "--point", "2", "2", "--label", "0"]
    assert (
        main(["segment", *BOX, "--box", "1", "2", "9", "9", *click, photo, "--out", str(out)]) == 0
    )
    prompts = [found["prompt"] for found in read_masks(out / "upright")[0]["objects"]]
    assert [prompt["box"] for prompt in prompts] == [[16, 14, 45, 43], [1, 2, 9, 9], None]
    assert prompts[2]["points"] == [[30, 28], [2, 2]]
    assert prompts[2]["labels"] == [1, 0]


def test_rotated_boxes(photos: Path, tmp_path: Path) -> None:
    """On the command line and in a file; a box at a quarter turn is the plain box."""
    photo, path = str(photos / "upright.png"), tmp_path / "prompts.json"
    rotated = ["30.5", "28.5", "29", "29", "90", "30.5", "28.5", "29", "27", "-30"]
    out = tmp_path / "out"
    assert main(["segment", photo, *BOX, "--rotated-box", *rotated, "--out", str(out)]) == 0
    content, (plain, quarter, tilted) = read_masks(out / "upright")
    assert np.array_equal(plain, quarter)
    assert (plain & tilted).sum() / (plain | tilted).sum() > 0.7
    assert content["encoder_passes"] == 2
    prompts = [found["prompt"] for found in content["objects"]]
    assert prompts[2] == {
        "rotated_box": [30.5, 28.5, 29, 27, -30], "box": None, "points": [], "labels": [],
    }  # fmt: skip
    path.write_text(json.dumps({"upright.png": prompts}))
    again = tmp_path / "again"
    assert main(["segment", photo, "--prompts", str(path), "--out", str(again)]) == 0
    for mask, expected in zip(
        read_masks(again / "upright")[1], (plain, quarter, tilted), strict=True
    ):
        assert np.array_equal(mask, expected)


def test_results_among_the_photos_are_no_photos(photos: Path) -> None:
    (photos / "broken.jpg").unlink()
    (photos / "folder.png").mkdir()
    assert main(["segment", str(photos), *FILLED, "--out", str(photos)]) == 2
    out = str(photos / "masks")
    for _ in range(2):
        assert main(["segment", str(photos), *FILLED, "--out", out]) == 0
        assert {path.name for path in (photos / "masks").iterdir()} == {
            *(".lock", "config.yaml", "environment.json", "records.jsonl", "summary.json"),
            *("annotations.json", "index.json", "sub", "upright"),
        }


def test_a_photo_that_breaks_leaves_no_old_result(photos: Path, tmp_path: Path) -> None:
    """The run was killed when its masks were there and their record was not."""
    photo, out = str(photos / "upright.png"), tmp_path / "out"
    assert main(["segment", photo, *FILLED, "--out", str(out)]) == 0
    (out / "records.jsonl").unlink()
    (out / "summary.json").unlink()
    (photos / "upright.png").write_bytes(b"broken")
    assert main(["segment", photo, *FILLED, "--out", str(out)]) == 1
    assert not list((out / "upright").iterdir())


BURST = [*FILLED, "--burst", "true"]


def write_burst(folder: Path, poses: list[int]) -> None:
    folder.mkdir(parents=True)
    for n, pose in enumerate(poses):
        photo = np.ascontiguousarray(np.roll(disc_photo(), 5 * n, axis=1))
        Image.fromarray(exact.move_image(photo, pose)).save(folder / f"{n}.png")


def test_photos_of_a_folder_share_the_pose_of_their_summed_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "photos"
    write_burst(images / "a", [0, 0, 0])
    write_burst(images / "b", [1, 1])
    (images / "b" / "broken.png").write_bytes(b"no photo")
    canonicalizer = load_canonicalizer()
    expected = {
        name: canonicalizer.estimate_many([read_image(p) for p in photos])
        for name in "ab"
        if (photos := sorted((images / name).glob("[0-9].png")))
    }
    alone = [canonicalizer.logits(read_image(images / "a" / f"{n}.png")) for n in range(3)]
    assert len({tuple(logits.tolist()) for logits in alone}) == 3
    out = tmp_path / "out"
    assert main(["segment", str(images), *BURST, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    for name, photos in {"a": 3, "b": 2}.items():
        pose = expected[name]
        assert f"{images / name} ({photos} photos, pose {pose.element}, probability " in error
        for n in range(photos):
            content = json.loads((out / name / str(n) / "masks.json").read_text())
            assert content["burst"] == {"folder": str(images / name), "photos": photos}
            assert content["pose"] == pose.element
            assert content["pose_probabilities"] == np.asarray(pose.probabilities).tolist()
    index = json.loads((out / "index.json").read_text())["photos"]
    assert {photo["file_name"]: photo["burst"]["photos"] for photo in index}["b/1.png"] == 2
    (images / "b" / "broken.png").unlink()
    write_burst(tmp_path / "more", [3, 3, 3])
    (tmp_path / "more" / "2.png").rename(images / "b" / "2.png")
    assert main(["segment", str(images), *BURST, "--out", str(out)]) == 0
    assert (
        f"1 burst grew after the first photos were segmented, which do not know of "
        f"the others: {images / 'b'}; choose another out" in capsys.readouterr().err
    )


def test_a_burst_of_one_photo_is_that_photo(tmp_path: Path) -> None:
    write_burst(tmp_path / "photos", [1])
    found = []
    for options in ([], ["--burst", "true"]):
        out = tmp_path / f"out{len(options)}"
        box = ["--box", "10.3", "12.7", "41.1", "44.9", *options, "--out", str(out)]
        assert main(["segment", str(tmp_path / "photos"), *box]) == 0
        content, masks = read_masks(out / "0")
        content.pop("burst", None)
        found.append((content, masks[0]))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        (Path("/x/y/1.png"), "/x/y"),
        ("s3://bucket/y/1.png", "s3://bucket/y"),
        ("tar://1.png::/x/a.tar", "/x/a.tar"),
        ("tar://y/1.png::s3://bucket/a.tar", "s3://bucket/a.tar/y"),
    ],
)
def test_the_folder_of_a_burst(place: Path | str, folder: str) -> None:
    assert find_bursts({"1": place})["1"].folder == folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photos}", *BOX, "--device", "abacus"], "device is 'abacus'"),
        (
            ["{photos}", "--everything", "true", "--grid.points_per_side", "0"],
            "points_per_side is 0",
        ),
        (
            ["{photos}", "--everything", "true", "--segmenter.multimask", "true"],
            "segmenter.multimask and refine are for prompts",
        ),
        (["none.jpg", *BOX], "images none.jpg does not exist"),
        (["{photos}"], "nothing says what to segment"),
        (["{photos}", *BOX, "--everything", "true"], "box or point, everything says what to"),
        (["{photos}", "--box", "1", "2", "3"], "box has 3 and point 0 numbers"),
        (["{photos}", "--rotated_box", "1", "2", "3"], "rotated_box has 3 numbers; expected cx cy"),
        (["{photos}", "--point", "1", "2", "--label", "1", "0"], "labels are 2 for 1 point;"),
        (["{photos}", *BOX, "--frame", "turned"], "frame is 'turned'"),
        (["{photos}", "--prompts", "p.txt"], "prompts p.txt does not exist"),
        (
            ["{photos}/upright.png", "{copy}/upright.png", *BOX],
            "would both be written to uprig",
        ),
        (
            ["{photos}", "--everything", "true", "--segmenter.name", "grabcut"],
            "by their predicted IoU, but grabcut predicts none",
        ),
    ],
)
def test_bad_settings(
    arguments: list[str], message: str, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    copy = tmp_path / "copy"
    copy.mkdir()
    Image.fromarray(disc_photo()).save(copy / "upright.png")
    filled = [argument.format(photos=photos, copy=copy) for argument in arguments]
    out = tmp_path / "out"
    assert main(["segment", *filled, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "", "ends in '.txt'; expected .csv or .json"),
        ("p.csv", "file,x\n", "has the columns file, x; expected image and some of"),
        ("p.csv", "", "has the columns none"),
        ("p.csv", "image,x,y\na.jpg,1,\n", "line 2: {'x': '1', 'y': ''}; expected all"),
        ("p.csv", "image,x,y\na.jpg,1,b\n", "line 2: could not convert string to float: 'b'"),
        ("p.csv", "image,x,y\na.jpg,,\n", "a.jpg, row 2: an object has neither box nor points"),
        (
            "p.csv",
            "image,x0,y0,x1,y1,object\na.jpg,1,2,3,4,cat\na.jpg,1,2,3,4,cat\n",
            "object cat of a.jpg has two boxes",
        ),
        ("p.csv", "image,x,y\n\n\na.jpg,1,b\n", "line 4: could not convert"),
        ("p.csv", "image,x,y\n,1,2\n", "line 2: expected an image"),
        ("p.csv", "image,x,y\na.jpg,1,2,3\n", "line 2: expected an image and at most 3"),
        ("p.csv", "image,x,y,label\na.jpg,,,1\n", "line 2: a label without x and y"),
        ("p.csv", "image,x,y,label\na.jpg,1,2,7\n", "label 7 is unknown"),
        ("p.csv", "image,x,y\na.jpg,nan,2\n", "expected finite numbers"),
        ("p.csv", "image,x,y\na.jpg," + "1" * 200_000 + ",2\n", "cannot be read"),
        ("p.json", "{", "is not JSON"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.json", '{"a.jpg": [{"box": "1234"}]}', "is no list of numbers"),
        ("p.json", '{"a.jpg": [{"points": [[1, 2]], "labels": [0.9]}]}', "a.jpg, object 0"),
        ("p.json", '{"a.jpg": [{"box": [1, 2, 3, 1' + "0" * 400 + "]}]}", "a.jpg, object 0"),
        ("p.json", "[]", "holds a list; expected an object that maps file names"),
        ("p.json", '{"a.jpg": [{"bbox": []}]}', "a.jpg, object 0 is {'bbox': []}; expected some"),
        ("p.json", '{"a.jpg": [{"box": [1, 2]}]}', "box [1.0, 2.0] has 2 numbers; expected 4"),
        ("p.json", '{"a.jpg": [{"rotated_box": [1, 2]}]}', "has 2 numbers; expected 5: cx, cy,"),
        ("p.json", '{"a.jpg": [{"points": [[1]]}]}', "point [1.0] has 1 numbers; expected 2"),
        ("p.json", '{"a.jpg": [{"points": 3}]}', "a.jpg, object 0"),
    ],
)
def test_bad_prompt_files(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_prompts(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("images", ["[]", "[{a: b}]", "[3]", "[null]", "[x]\neverything: null"])
def test_images_in_a_config_are_names(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(f"everything: true\nout: o\nimages: {images}\n")
    assert main(["segment", "--config", str(tmp_path / "c.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("samrot: error: ")
    assert error.count("\n") == 1


def test_names_in_prompts_must_be_among_the_images(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"other.jpg": [{"box": [1, 2, 3, 4]}]}')
    assert main(["segment", str(photos), "--prompts", str(path), "--out", str(tmp_path / "o")]) == 2
    assert "names other.jpg, which is not among the images" in capsys.readouterr().err
    path.write_text('{"upright.png": [{"box": [1, 2, 300, 1]}]}')
    assert main(["segment", str(photos), "--prompts", str(path), "--out", str(tmp_path / "o")]) == 1
    errors = capsys.readouterr().err
    assert "box [1.0, 2.0, 300.0, 1.0] is inverted" in errors
    assert "2 photos without prompts in" in errors


def test_all_points_are_one_object() -> None:
    found = prompts_from_numbers([0, 0, 1, 1, 2, 2, 3, 3], [5, 6, 7, 8], [])
    assert [describe_prompt(prompt) for prompt in found] == [
        {"box": [0, 0, 1, 1], "points": [], "labels": []},
        {"box": [2, 2, 3, 3], "points": [], "labels": []},
        {"box": None, "points": [[5, 6], [7, 8]], "labels": [1, 1]},
    ]
