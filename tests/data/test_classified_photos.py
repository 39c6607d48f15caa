"""Labelled photos: the same from folders, zips and CIFAR's batches; what is off is one line."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from samrot.data.classified_photos import ClassifiedPhotos, ClassifiedPhotoSettings
from samrot.errors import InputError, MissingFileError
from tests.conftest import CLASSES, coloured_photo, write_classes


def load(path: Path, split: str = "test") -> ClassifiedPhotos:
    return ClassifiedPhotoSettings(images=str(path), split=split).load()


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
        archive.writestr(f"{prefix}README.txt", "no photo")
        archive.writestr(f"__MACOSX/{prefix}._0.png", "no photo")
    return path


def batches(folder: Path, labels: list[int], *, protocol: int = 2) -> Path:
    folder.mkdir()
    names = {b"label_names": [name.encode() for name in CLASSES]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=protocol))
    photos = [coloured_photo(label, n, (32, 32)) for n, label in enumerate(labels)]
    rows = np.stack([photo.transpose(2, 0, 1).reshape(-1) for photo in photos])
    batch = pickle.dumps({b"data": rows, b"labels": labels}, protocol=protocol)
    for name in ("test_batch", *(f"data_batch_{n}" for n in range(1, 6))):
        (folder / name).write_bytes(batch)
    return folder


def test_a_zip_is_read_as_the_folder_that_it_holds(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "photos")
    of_folder = load(folder)
    assert list(of_folder.classes) == list(CLASSES)
    assert of_folder.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for n, prefix in enumerate(("", "inside/")):
        of_zip = load(zipped(folder, tmp_path / f"{n}.zip", prefix))
        assert list(of_zip.classes) == list(CLASSES)
        assert of_zip.labels.tolist() == of_folder.labels.tolist()
        for place in range(len(of_folder)):
            np.testing.assert_array_equal(of_zip.read(place), of_folder.read(place))
    part = of_folder.part(np.array([4, 8]))
    assert part.labels.tolist() == [1, 2]
    np.testing.assert_array_equal(part.read(1), coloured_photo(2, 2))


def test_batches_of_cifar(tmp_path: Path) -> None:
    photos = load(batches(tmp_path / "cifar", [2, 0, 1]))
    assert (list(photos.classes), photos.labels.tolist()) == (list(CLASSES), [2, 0, 1])
    np.testing.assert_array_equal(photos.read(1), coloured_photo(0, 1, (32, 32)))
    assert len(load(tmp_path / "cifar", "train")) == 15


def test_code_in_a_batch_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "was_run",)

    folder = batches(tmp_path / "cifar", [0, 1])
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(InputError, match="test_batch cannot be read .it holds code"):
        load(folder)
    assert not (tmp_path / "was_run").exists()
    (folder / "test_batch").write_bytes((folder / "data_batch_1").read_bytes()[:60])
    with pytest.raises(InputError, match="test_batch cannot be read"):
        load(folder)
    (folder / "test_batch").unlink()
    with pytest.raises(MissingFileError, match="test_batch does not exist"):
        load(folder)


@pytest.mark.parametrize("name", ["../up.png", "/etc/a.png", "a/../../b.png", "C:\\a.png", "\\a"])
def test_members_that_climb_out_are_refused(name: str, tmp_path: Path) -> None:
    path = zipped(write_classes(tmp_path / "photos"), tmp_path / "photos.zip")
    with ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    with pytest.raises(InputError, match="which leads out of it") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_damaged_zips(tmp_path: Path) -> None:
    whole = zipped(write_classes(tmp_path / "photos"), tmp_path / "photos.zip")
    content = whole.read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"data.images .*cut.zip cannot be read .*it is damaged"):
        load(cut)
    changed = tmp_path / "changed.zip"  # within the pixels of the first photo
    changed.write_bytes(content[:300] + bytes([content[300] ^ 255]) + content[301:])
    with pytest.raises(InputError, match=r"changed.zip cannot be read .*it is damaged"):
        load(changed).read(0)


def test_folders_that_are_none_of_classes(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere does not exist; expected a folder of"):
        load(tmp_path / "nowhere")
    folder = write_classes(tmp_path / "photos")
    shutil.copy(folder / "red" / "0.png", folder / "stray.png")
    with pytest.raises(InputError, match="holds stray.png, which is in no class folder"):
        load(folder)
    with pytest.raises(InputError, match="in no class folder"):
        load(folder / "red")
    (folder / "stray.png").unlink()
    for name in ("red", "green"):
        shutil.rmtree(folder / name)
    with pytest.raises(InputError, match="holds 3 photos of 1 class; expected at least two"):
        load(folder)


def test_classes_that_differ_are_named(tmp_path: Path) -> None:
    photos = load(write_classes(tmp_path / "photos"))
    photos.check_classes(list(CLASSES), "network")
    for classes, message in (
        (["blue", "green"], "network knows 2 classes, .* 3; expected the same: only .* has 'red'"),
        (["blue", "green", "pink", "red"], "only network has 'pink'"),
        (["green", "blue", "red"], "their order differs"),
    ):
        with pytest.raises(InputError, match=message):
            photos.check_classes(classes, "network")
