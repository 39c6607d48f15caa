"""``samrot upright``: what it says, what it writes, and that it can be taken back."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samrot.cli import main
from samrot.data.images import exif_orientation, read_image
from samrot.data.orientation_tag import with_orientation
from samrot.errors import InputError
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, element_exif, exif_element
from tests.conftest import SourceOfPoses

PHONE_PHOTOS = Path(__file__).parents[3] / "shared" / "exif"
SURE, UNSURE = np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.4, 0.3, 0.2, 0.1])


def picture(seed: int = 0) -> Image.Image:
    """Blocks of colour, 48 x 32: whole blocks of a JPEG."""
    blocks = np.random.default_rng(seed).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(16, 0).repeat(16, 1))


def encoded(kind: str, orientation: int | None, seed: int = 0) -> bytes:
    written = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if orientation is not None:
        exif[0x0112] = orientation
    picture(seed).save(written, kind, exif=exif)
    return written.getvalue()


def says(monkeypatch: pytest.MonkeyPatch, element: int, probabilities: np.ndarray = SURE) -> None:
    """Let the canonicalizer say that every photo is displayed turned by that element."""
    monkeypatch.setattr(
        "samrot.commands.upright.CanonicalizerChoice.load",
        lambda *_: SourceOfPoses(Pose(element, probabilities=probabilities)),
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("before", [None, 1, 6])
def test_only_the_tag_changes(kind: str, before: int | None) -> None:
    content = encoded(kind, before)
    for orientation in range(1, 9):
        changed = with_orientation(content, orientation)
        with Image.open(io.BytesIO(changed)) as image, Image.open(io.BytesIO(content)) as old:
            exif = image.getexif()
            assert exif[0x0112] == orientation
            assert exif[0x010F] == "Maker"
            if kind != "TIFF":  # which Pillow turns when it decodes it
                assert image.tobytes() == old.tobytes()
            elif before is None:  # all that was there is where it was
                assert changed[8 : len(content)] == content[8:]
        if before is not None:
            assert len(changed) == len(content)
            differing = [a != b for a, b in zip(changed, content, strict=True)]
            assert sum(differing) <= (6 if kind == "PNG" else 2)  # PNG has a checksum
        assert with_orientation(changed, orientation) == changed


def test_a_file_without_metadata_gets_some() -> None:
    for kind in ("JPEG", "PNG"):
        written = io.BytesIO()
        picture().save(written, kind)
        changed = with_orientation(written.getvalue(), 8)
        with Image.open(io.BytesIO(changed)) as image:
            assert image.getexif()[0x0112] == 8
            assert image.tobytes() == Image.open(written).tobytes()
    for bad in (b"", b"GIF89a", b"\xff\xd8\xff\xe1\x00", b"II*\0\xff\xff\xff\x7f"):
        with pytest.raises(InputError):
            with_orientation(bad, 3)


@pytest.mark.parametrize("pose", range(4))
@pytest.mark.parametrize("tag", [1, 2, 5, 6, 8])
def test_the_tag_shows_it_upright(
    pose: int, tag: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo as the tag shows it is turned by the pose: afterwards it is upright."""
    path = tmp_path / "photos" / "deep" / "photo.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(with_orientation(encoded("PNG", None), tag))
    kept, shown = path.read_bytes(), read_image(path)
    says(monkeypatch, pose)
    out = tmp_path / "out"
    assert main(["upright", str(tmp_path / "photos"), "--write", "exif", "--out", str(out)]) == 0
    assert path.read_bytes() == kept
    (row,) = json.loads((out / "upright.json").read_text())
    copy = out / "photos" / "deep" / "photo.png"
    if pose == 0:
        assert row["action"] == "upright"
        assert not copy.exists()
        return
    assert row["action"] == "turned"
    assert (row["exif_before"], row["exif_after"]) == (tag, exif_orientation(copy))
    upright = PlaneTransform.to_canonical(Pose(pose), (shown.shape[0], shown.shape[1]))
    assert np.array_equal(read_image(copy), upright.image(shown))
    # By pixels it is the same picture, and the tag says that it is as stored.
    code = main(["upright", str(path), "--write", "pixels", "--out", str(tmp_path / "by_pixels")])
    assert code == 0
    turned = tmp_path / "by_pixels" / "photos" / "photo.png"
    assert exif_orientation(turned) == 1
    assert np.array_equal(read_image(turned), upright.image(shown))


@pytest.mark.parametrize("write", ["exif", "pixels"])
def test_in_place_and_back(
    write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for n in range(4):
        (folder / f"{n}.png").write_bytes(encoded("PNG", 1 if n % 2 else None, seed=n))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    says(monkeypatch, 1)
    options = ["upright", str(folder), "--write", write, "--in_place", "--out", str(out)]
    assert main(options) == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
    assert main(options) == 0
    assert "was complete; nothing is run" in capsys.readouterr().err
    (folder / "3.png").write_bytes(b"edited")
    assert main(["upright", "--undo", str(out / "undo.jsonl")]) == 1
    assert "3.png: it was changed since" in capsys.readouterr().err
    restored = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert restored == {**before, "3.png": b"edited"}
    (folder / "3.png").write_bytes(after["3.png"])
    assert main(["upright", "--undo", str(out / "undo.jsonl")]) == 0
    assert main(options) == 0  # what was taken back is done again
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == after


def test_what_is_unsure_or_broken_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encoded("JPEG", 6))
    (folder / "b.jpg").write_text("no photo")
    says(monkeypatch, 2, UNSURE)
    options = ["upright", str(folder), "--write", "exif", "--in_place", "--out", str(out)]
    assert main(options) == 1
    captured = capsys.readouterr()
    assert "1 left alone, their pose being less probable than 0.8" in captured.out
    assert "b.jpg" in captured.err
    assert (folder / "a.jpg").read_bytes() == encoded("JPEG", 6)
    assert (out / "unsure.png").is_file()
    assert "a.jpg" in (out / "upright.csv").read_text()
    says(monkeypatch, 2)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    code = main(["upright", str(folder / "a.jpg"), "--write", "pixels", "--out", str(out / "px")])
    assert code == 1
    assert "jpegtran, which turns it without loss, is not installed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("jpegtran") is None, reason="jpegtran is not installed")
def test_pixels_of_a_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded("JPEG", 6))
    shown = read_image(path)
    says(monkeypatch, 1)
    assert main(["upright", str(path), "--write", "pixels", "--out", str(tmp_path / "out")]) == 0
    turned = read_image(tmp_path / "out" / "photos" / "photo.jpg")
    upright = PlaneTransform.to_canonical(Pose(1), (shown.shape[0], shown.shape[1])).image(shown)
    assert np.abs(turned.astype(int) - upright).max() <= 2  # the same coefficients, other rounding


def test_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        ([], "out or images is not given"),
        (["x.jpg", "--out", "o", "--in_place"], "in_place is set, but write is none"),
        (["x.jpg", "--out", "o", "--recompress"], "recompress is set, but write is none"),
        (["x.jpg", "--undo", "u"], "leave the other options out"),
        (["--undo", str(tmp_path / "none")], "does not exist; expected the undo.jsonl"),
        ([str(tmp_path / "none.jpg"), "--out", "o"], "none.jpg does not exist"),
    ):
        assert main(["upright", *options]) == 2
        assert message in capsys.readouterr().err


def test_tags_and_elements_are_one_to_one() -> None:
    assert [exif_element(element_exif(g)) for g in range(D4.order)] == list(range(D4.order))


def test_phone_photos(tmp_path: Path) -> None:
    """Real photos whose tag is right: displayed they are upright, and stay as they are."""
    if not PHONE_PHOTOS.is_dir():
        pytest.skip(f"phone photos are not at hand ({PHONE_PHOTOS.name} is absent)")
    photos = sorted(path for path in PHONE_PHOTOS.rglob("*") if path.suffix == ".jpg")
    assert photos
    for path in photos:
        content = path.read_bytes()
        changed = with_orientation(content, 3)
        with Image.open(io.BytesIO(changed)) as image, Image.open(io.BytesIO(content)) as old:
            assert image.getexif()[0x0112] == 3
            others = {k: v for k, v in dict(old.getexif()).items() if k != 0x0112}
            assert {k: v for k, v in dict(image.getexif()).items() if k != 0x0112} == others
            assert image.tobytes() == old.tobytes()
