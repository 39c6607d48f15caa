import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from samrot.data.images import exif_orientation, image_size, list_images, read_image
from samrot.errors import InputError, MissingFileError
from samrot.geometry import exact
from samrot.geometry.groups import D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose, exif_element
from tests.conftest import random_photo


def test_modes_become_rgb(tmp_path: Path) -> None:
    photo = random_photo(0, 5, 7)
    grey = photo[..., 0]
    deep = grey.astype(np.uint16) * 257
    cases = {
        "rgb.png": (Image.fromarray(photo), photo),
        "rgba.png": (Image.fromarray(np.dstack([photo, grey])), photo),
        "grey.png": (Image.fromarray(grey), np.repeat(grey[..., None], 3, 2)),
        "deep.png": (Image.fromarray(deep), np.repeat(grey[..., None], 3, 2)),
        "palette.png": (Image.fromarray(photo).quantize(16), None),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        read = read_image(tmp_path / name)
        assert read.shape == (5, 7, 3)
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        if expected is not None:
            assert np.array_equal(read, expected), name


def test_exif(tmp_path: Path) -> None:
    photo = random_photo(0, 5, 7)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    path = tmp_path / "turned.png"
    Image.fromarray(photo).save(path, exif=exif)
    assert np.array_equal(read_image(path), np.rot90(photo, -1))
    with pytest.warns(UserWarning, match="EXIF orientation 6 is ignored"):
        assert np.array_equal(read_image(path, apply_exif=False), photo)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.jpg does not exist"):
        read_image(tmp_path / "none.jpg")
    whole = tmp_path / "whole.jpg"
    Image.fromarray(random_photo(0, 200, 300)).save(whole)
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"torn\.jpg cannot be decoded"):
        read_image(torn)
    text = tmp_path / "text.jpg"
    text.write_text("not a photo")
    with pytest.raises(InputError, match=r"text\.jpg cannot be decoded"):
        read_image(text)


@pytest.mark.parametrize("format_name", ["EPS", "JPEG2000", "DDS", "ICO", "PPM", "PDF"])
def test_formats_that_are_not_read_whatever_they_are_called(
    format_name: str, tmp_path: Path
) -> None:
    """EPS would start Ghostscript; decoders that few use break in ways of their own."""
    path = tmp_path / "photo.png"
    Image.fromarray(random_photo(0, 32, 32)).save(path, format=format_name)
    for read in (read_image, exif_orientation):
        with pytest.raises(InputError, match=r"photo\.png cannot be decoded .*or no JPEG, PNG"):
            read(path)


def test_a_photo_beyond_the_limit_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(random_photo(0, 30, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(InputError, match=r"large\.png is too large .*1200 pixels.*; scale it down"):
        read_image(tmp_path / "large.png")


def test_list_images(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        list_images(tmp_path / "none")
    with pytest.raises(InputError, match="holds no image"):
        list_images(tmp_path)
    (tmp_path / "below").mkdir()
    for name in ("b.JPG", "below/a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["b.JPG", "a.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_go_back_to_the_stored_frame(orientation: int, tmp_path: Path) -> None:
    stored = np.arange(40 * 60 * 3, dtype=np.int64).reshape(40, 60, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(stored).save(path, exif=exif)
    assert exif_orientation(path) == orientation
    displayed = read_image(path)
    assert displayed.shape[:2] == ((60, 40) if orientation >= 5 else (40, 60))
    pose = Pose(exif_element(orientation))
    back = PlaneTransform.from_pose(pose, (displayed.shape[0], displayed.shape[1])).masks(
        displayed[..., 0]
    )
    assert np.array_equal(back, stored[..., 0])
    assert back.flags.c_contiguous


@pytest.mark.parametrize(
    ("levels", "expected"),
    [((0.0, 0.5, 1.0), (0, 128, 255)), ((0.0, 128.0, 255.0), (0, 128, 255))],
)
def test_floats_are_shares_of_white_or_levels(
    levels: tuple[float, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    Image.fromarray(np.array([levels], dtype=np.float32)).save(tmp_path / "float.tif")
    assert read_image(tmp_path / "float.tif")[0, :, 0].tolist() == list(expected)


@pytest.mark.parametrize("levels", [(0.0, np.nan), (-1.0, 0.5), (0.0, 4000.0)])
def test_floats_of_no_known_unit_are_refused(levels: tuple[float, ...], tmp_path: Path) -> None:
    Image.fromarray(np.array([levels], dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match=r"float\.tif cannot be decoded \(its pixels reach from"):
        read_image(tmp_path / "float.tif")


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(random_photo(0, 4, 5)).save(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "itself.png").symlink_to(tmp_path / "a" / "itself.png")
    (tmp_path / "a" / "here").symlink_to(tmp_path / "a" / "here")
    assert list_images(tmp_path / "a") == [tmp_path / "a" / "link" / "1.png"]


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(random_photo(0, 4, 5)).save(tmp_path / "1.png")
    (tmp_path / "secret").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"secret cannot be read \(Permission denied\)"):
        list_images(tmp_path)


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_photos_of_phones(suffix: str, tmp_path: Path) -> None:
    """Displayed and stored frame, although the decoder of HEIF turns photos itself."""
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    displayed = np.zeros((40, 64, 3), dtype=np.uint8)
    displayed[:20, :32] = 255
    stored = exact.move_image(displayed, exif_element(6))
    # pillow-heif turns pixels by a box of the container, not by the tag: it is given them turned.
    kept = displayed if suffix == ".heic" else stored
    path = tmp_path / f"phone{suffix}"
    Image.fromarray(kept).save(path, exif=exif, quality=100)
    assert exif_orientation(path) == 6
    assert list_images(tmp_path) == [path]
    for apply_exif, expected in ((True, displayed), (None, stored)):
        read = read_image(path, apply_exif=apply_exif)
        assert read.shape == expected.shape
        assert np.abs(read.astype(int) - expected).mean() < 5


def test_heif_without_its_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "phone.heic").touch()
    with pytest.raises(InputError, match=r"phone.heic is HEIF, .* pip install 'samrot\[heif\]'"):
        read_image(tmp_path / "phone.heic")


def test_photos_that_are_not_read_are_named(tmp_path: Path) -> None:
    Image.fromarray(random_photo(0, 5, 7)).save(tmp_path / "a.png")
    for name in ("b.CR2", "c.dng", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"2 photos of kinds .* left out \(b.CR2, c.dng\)"):
        assert list_images(tmp_path) == [tmp_path / "a.png"]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_and_displayed_pixels(suffix: str, orientation: int, tmp_path: Path) -> None:
    """Some decoders turn photos by themselves: stored must still mean the pixels in the file."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    exif, path = Image.Exif(), tmp_path / f"photo.{suffix}"
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    assert np.array_equal(read_image(path, apply_exif=None), pixels)
    upright = exact.move_image(pixels, D4.inverse(exif_element(orientation)))
    assert np.array_equal(read_image(path), upright)
    assert image_size(path, apply_exif=True) == upright.shape[:2]
    assert image_size(path, apply_exif=False) == pixels.shape[:2]


@pytest.mark.parametrize(
    ("enough", "size_hw"),
    [(None, (600, 800)), (301, (600, 800)), (300, (300, 400)), (70, (75, 100))],
)
def test_a_jpeg_may_be_decoded_smaller(
    tmp_path: Path, enough: int | None, size_hw: tuple[int, int]
) -> None:
    path = tmp_path / "photo.jpg"
    smooth = cv2.resize(random_photo(3, 6, 8), (800, 600), interpolation=cv2.INTER_CUBIC)
    tag = Image.Exif()
    tag[0x0112] = 3
    Image.fromarray(smooth).save(path, quality=95, exif=tag)
    small = read_image(path, enough=enough)
    assert small.shape == (*size_hw, 3)
    whole = cv2.resize(read_image(path), size_hw[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - whole).mean() < 2, "turned as the tag says, too"


def test_what_is_no_jpeg_is_read_whole(tmp_path: Path) -> None:
    Image.fromarray(random_photo(3, 600, 800)).save(tmp_path / "photo.png")
    assert read_image(tmp_path / "photo.png", enough=10).shape == (600, 800, 3)
