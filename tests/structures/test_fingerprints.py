"""Copies of a photo are known again, other photos are not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from samrot.canonicalizers import load_canonicalizer, save_canonicalizer
from samrot.cli import main
from samrot.data.images import list_images, read_image
from samrot.errors import InputError
from samrot.structures.fingerprints import count_known, fingerprint, pack, union, unpack
from tests.conftest import random_photo, small_d4


def copy_of(image: np.ndarray) -> np.ndarray:
    """At half the size, and as JPEG."""
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, format="JPEG", quality=85)
    return np.asarray(Image.open(buffer))


def test_copies_are_known_and_others_are_not(scenes_folder: Path) -> None:
    photos = [read_image(path) for path in list_images(scenes_folder / "images")]
    known = np.array([fingerprint(photo) for photo in photos[:3]], dtype=np.uint64)
    assert count_known([fingerprint(copy_of(photo)) for photo in photos[:3]], known) == 3
    assert count_known([fingerprint(photo) for photo in photos[3:]], known) == 0
    assert count_known([], known) == count_known([5], np.zeros(0, dtype=np.uint64)) == 0


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (480, 640)])
def test_photos_of_any_size(size_hw: tuple[int, int]) -> None:
    assert 0 <= fingerprint(random_photo(0, *size_hw)) < 2**64


def test_packing() -> None:
    numbers = [2**64 - 1, 0, 17, 17]
    unpacked = unpack(pack(numbers))
    assert unpacked is not None
    assert unpacked.tolist() == [0, 17, 2**64 - 1]
    assert unpack(None) is None
    assert union(unpacked, None) is None
    with pytest.raises(InputError, match="trained_on is damaged"):
        unpack("no base64!")


@pytest.mark.slow
@pytest.mark.filterwarnings("always::UserWarning")
def test_scores_on_training_photos_are_named(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted photo: two of the photos scored are among those trained on."""
    canonicalizer = small_d4()
    photos = list_images(scenes_folder / "images")
    planted = [copy_of(read_image(path)) for path in photos[:2]] + [random_photo(0, 40, 60)]
    canonicalizer.trained_on = np.array([fingerprint(p) for p in planted], dtype=np.uint64)
    checkpoint = str(tmp_path / "d4.safetensors")
    save_canonicalizer(
        canonicalizer, checkpoint, architecture="orbit_cnn", options={"widths": [16, 32]}
    )
    out = tmp_path / "run"
    arguments = [
        "evaluate", "--data.images", str(scenes_folder / "images"),
        "--data.annotations", str(scenes_folder / "annotations.json"), "--segmenter.name", "box",
        "--canonicalizer.name", checkpoint, "--out", str(out),
    ]  # fmt: skip
    warning = "the canonicalizer was trained on 2 of the 6 photos scored"
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert warning in said.err
    line = "photos scored that were trained on: segmenter not known, canonicalizer 2 of 6"
    assert line in said.out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["trained_on"] == {"segmenter": None, "canonicalizer": 2}
    images = f"[{scenes_folder / 'images'}]"
    arguments = ["diagnose", "--data.images", images, "--canonicalizer.name", checkpoint]
    assert main([*arguments, "--out", str(tmp_path / "report")]) == 0
    said = capsys.readouterr()
    assert warning in said.err
    assert "| photos that were trained on | 2 |" in said.out


def test_training_writes_what_it_was_trained_on(scenes_folder: Path, tmp_path: Path) -> None:
    images, annotations = scenes_folder / "images", str(scenes_folder / "annotations.json")
    quick = ["--optim.steps", "1", "--optim.batch_size", "2", "--workers", "0"]
    small = [
        "--canonicalizer.architecture", "gcnn", "--canonicalizer.size", "17",
        "--canonicalizer.options", "{widths: [4, 8]}",
    ]  # fmt: skip
    first, second = tmp_path / "first", tmp_path / "second"
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("images/scene_0001.png\n\nscene_0002.png\n")
    train = ["train", "--data.images", f"[{images}]", *small, *quick]
    assert main([*train, "--data.exclude", str(exclude), "--out", str(first)]) == 0
    prints = [fingerprint(read_image(path)) for path in list_images(images)]
    known = load_canonicalizer(first / "canonicalizer.safetensors").trained_on
    assert known is not None
    assert [count_known([number], known) for number in prints] == [0, 0, 1, 1, 1, 1]
    # What the start had seen counts too.
    only = ["--data.include", str(exclude), "--init", str(first / "canonicalizer.safetensors")]
    assert main([*train, *only, "--out", str(second)]) == 0
    both = load_canonicalizer(second / "canonicalizer.safetensors").trained_on
    assert both is not None
    assert count_known(prints, both) == 6
    third = tmp_path / "third"
    finetune = [
        "finetune", "--data.images", str(images), "--data.annotations", annotations,
        "--view_size", "64", "--segmenter.from_scratch", "true", *quick, "--out", str(third),
    ]  # fmt: skip
    assert main(finetune) == 0
    from samrot import load_segmenter

    mini = load_segmenter("sam_mini", checkpoint=third / "sam_mini.safetensors")
    assert count_known(prints, mini.trained_on) == 6  # type: ignore[attr-defined]


def test_lists_that_leave_nothing(
    scenes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("other.png\n")
    images = f"[{scenes_folder / 'images'}]"
    command = ["train", "--data.images", images, "--out", str(tmp_path / "run")]
    assert main([*command, "--data.include", str(nothing)]) == 2
    assert "leave no photo of" in capsys.readouterr().err
    assert main([*command, "--data.exclude", str(tmp_path / "none.txt")]) == 2
    assert "none.txt does not exist; expected a text file of paths" in capsys.readouterr().err
