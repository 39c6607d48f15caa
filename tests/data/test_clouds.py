"""Sets of clouds: every layout is read, and what is off is named in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samrot.data.clouds import CloudDataset, CloudSettings
from samrot.errors import InputError
from tests.conftest import write_clouds

TETRAHEDRON = "4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


def load(path: Path, **changes: Any) -> CloudDataset:
    return CloudSettings(clouds=str(path), **changes).load()


def test_npz(tmp_path: Path) -> None:
    path = write_clouds(tmp_path / "clouds.npz")
    dataset = load(path, num_points=20)
    assert (len(dataset), list(dataset.classes)) == (18, ["disc", "pole", "cone"])
    assert dataset.labels[:7] == [0] * 6 + [1]
    assert not dataset.has_parts
    for cloud in dataset.clouds:
        assert (cloud.shape, cloud.dtype) == ((20, 3), np.float32)
        assert np.linalg.norm(cloud, axis=1).max() == pytest.approx(1, abs=1e-6)
    assert not np.array_equal(load(path, split="train").clouds[0], load(path).clouds[0])
    assert load(path).part([3, 8]).labels == [0, 1]


def test_integers_are_read_as_they_are(tmp_path: Path) -> None:
    points = np.random.default_rng(0).integers(-32767, 32767, (2, 9, 3)).astype(np.int16)
    labels, names = np.array([1, 0]), np.array(["a", "b"])
    for name, scale in (("short", 1), ("float", 1 / 32767)):
        np.savez(
            tmp_path / f"{name}.npz", points_test=points * scale, labels_test=labels, names=names
        )
    short, float_ = load(tmp_path / "short.npz"), load(tmp_path / "float.npz")
    np.testing.assert_allclose(short.clouds, float_.clouds, atol=1e-6)


@pytest.fixture
def modelnet(tmp_path: Path) -> Path:
    """Two files and the lists, as they lie in modelnet40_ply_hdf5_2048."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    folder = tmp_path / "modelnet"
    folder.mkdir()
    for number in range(2):
        with h5py.File(folder / f"ply_data_test{number}.h5", "w") as file:
            file["data"] = np.random.default_rng(number).normal(size=(3, 16, 3)).astype(np.float32)
            file["label"] = np.array([[0], [1], [1]], dtype=np.uint8)
    lines = [f"data/modelnet40_ply_hdf5_2048/ply_data_test{n}.h5" for n in range(2)]
    (folder / "test_files.txt").write_text("\n".join(lines) + "\n")
    (folder / "shape_names.txt").write_text("airplane\nbathtub\n")
    return folder


def test_hdf5(modelnet: Path) -> None:
    dataset = load(modelnet)
    assert (len(dataset), list(dataset.classes)) == (6, ["airplane", "bathtub"])
    assert dataset.labels == [0, 1, 1, 0, 1, 1]
    single = load(modelnet / "ply_data_test1.h5")
    assert np.array_equal(single.clouds[0], dataset.clouds[3])
    (modelnet / "shape_names.txt").unlink()
    assert load(modelnet).classes == ["0", "1"]
    (modelnet / "ply_data_test1.h5").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"ply_data_test1\.h5 cannot be read \(.*restore the file"):
        load(modelnet)
    (modelnet / "ply_data_test1.h5").unlink()
    with pytest.raises(InputError, match=r"ply_data_test1\.h5 does not exist, but .* lists it"):
        load(modelnet)


def test_meshes(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    for name, factor in (("box", 1), ("plank", 5)):
        (tmp_path / name / "test").mkdir(parents=True)
        (tmp_path / name / "train").mkdir()
        trimesh.creation.box((factor, 1, 1)).export(tmp_path / name / "test" / "0.ply")
        (tmp_path / name / "test" / "1.off").write_text("OFF\n" + TETRAHEDRON)
    dataset = load(tmp_path)
    assert (len(dataset), list(dataset.classes), dataset.labels) == (
        4,
        ["box", "plank"],
        [0, 0, 1, 1],
    )
    assert dataset.clouds[0].shape == (1024, 3)
    assert load(tmp_path, num_points=50).clouds[0].shape == (50, 3)
    assert np.array_equal(load(tmp_path).clouds[2], dataset.clouds[2])
    assert np.ptp(dataset.clouds[2], axis=0).argmax() == 0
    with pytest.raises(InputError, match="holds no cloud"):
        load(tmp_path, split="train")
    (tmp_path / "plank" / "test" / "1.off").write_text("OFF\n4 4\nnonsense")
    with pytest.raises(InputError, match=r"1\.off cannot be read"):
        load(tmp_path)
    (tmp_path / "box" / "train").rmdir()
    with pytest.raises(InputError, match="expected the same classes in train and test"):
        load(tmp_path, split="train")


def test_parts(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 7))
    rows[:, 6] = [0] * 4 + [1] * 5
    (tmp_path / "02691156").mkdir()
    (tmp_path / "train_test_split").mkdir()
    (tmp_path / "synsetoffset2category.txt").write_text("Airplane\t02691156\n")
    np.savetxt(tmp_path / "02691156" / "abc.txt", rows)
    listing = tmp_path / "train_test_split" / "shuffled_test_file_list.json"
    listing.write_text(json.dumps(["shape_data/02691156/abc"]))
    dataset = load(tmp_path, num_points=6)
    assert dataset.has_parts
    assert len(dataset.classes) == 50
    np.testing.assert_array_equal(dataset.labels[0], [0, 0, 0, 0, 1, 1])
    rows[0, 6] = 50
    np.savetxt(tmp_path / "02691156" / "abc.txt", rows)
    with pytest.raises(InputError, match="labels from 0 to 50; expected 0 to 49"):
        load(tmp_path)
    (tmp_path / "02691156" / "abc.txt").write_text("1 2 x\n")
    with pytest.raises(InputError, match=r"abc\.txt cannot be read"):
        load(tmp_path)


def test_cut_keeps_the_first_points_and_their_labels() -> None:
    clouds = [np.arange(15.0).reshape(5, 3), np.arange(6.0).reshape(2, 3)]
    parts = CloudDataset(clouds, [np.arange(5), np.arange(2)], ["a"], "here").cut(3)
    assert [len(cloud) for cloud in parts.clouds] == [3, 2]
    assert [label.tolist() for label in parts.labels] == [[0, 1, 2], [0, 1]]  # type: ignore[union-attr]
    whole = CloudDataset(clouds, [7, 8], ["a"], "here").cut(1)
    assert whole.labels == [7, 8]
    np.testing.assert_array_equal(whole.clouds[1], [[0, 1, 2]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points_test": np.zeros((2, 1, 3))}, "cloud 0 has 1 point; expected at least 3"),
        ({"points_test": np.zeros((2, 9, 4))}, r"cloud 0 has shape \(9, 4\)"),
        ({"points_test": np.full((2, 9, 3), np.nan)}, "cloud 0 holds NaN or infinity"),
        ({"labels_test": np.array([0])}, "has 2 clouds and 1 label; expected one for each"),
        ({"labels_test": np.array([0, 2])}, "cloud 1 has labels from 2 to 2; expected 0 to 1"),
        ({"labels_test": np.array([-1, 0])}, "cloud 0 has labels from -1 to -1"),
        ({"labels_test": np.zeros((2, 5), int)}, "cloud 0 has 9 points and 5 labels"),
        ({"points_test": np.zeros((0, 9, 3)), "labels_test": np.zeros(0, int)}, "holds no cloud"),
        ({"points_test": None}, r"cannot be read \(.*points_test.*restore the file"),
    ],
)
def test_what_is_off_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    whole = {
        "points_test": np.random.default_rng(0).normal(size=(2, 9, 3)),
        "labels_test": np.array([0, 1]),
        "names": np.array(["a", "b"]),
    }
    changed = {k: v for k, v in {**whole, **arrays}.items() if v is not None}
    np.savez(tmp_path / "clouds.npz", **changed)
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path / "clouds.npz")
    assert "\n" not in str(raised.value)


def test_damaged_and_unknown_files(tmp_path: Path) -> None:
    path = write_clouds(tmp_path / "clouds.npz")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"clouds\.npz cannot be read .* restore the file"):
        load(path)
    with pytest.raises(InputError, match="nowhere does not exist; expected a file or folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "clouds.xyz").write_text("1 2 3")
    with pytest.raises(InputError, match="of no known kind; expected .npz, .h5 or a folder"):
        load(tmp_path / "clouds.xyz")
    with pytest.raises(InputError, match="data.split is 'val'; expected one of: train, test"):
        load(path, split="val")


def test_labels_of_a_network(tmp_path: Path) -> None:
    dataset = load(write_clouds(tmp_path / "clouds.npz"))
    dataset.check_labels_of(["disc", "pole", "cone"], False, "net")
    with pytest.raises(InputError, match="net has 2 classes and .* 3; .* only one has 'cone'"):
        dataset.check_labels_of(["disc", "pole"], False, "net")
    with pytest.raises(InputError, match="the order differs"):
        dataset.check_labels_of(["pole", "disc", "cone"], False, "net")
    with pytest.raises(InputError, match="net labels points of clouds, but .* labels of clouds"):
        dataset.check_labels_of(["disc", "pole", "cone"], True, "net")
