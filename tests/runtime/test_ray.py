"""Workers on a local Ray: the same results as one process, and a worker that dies loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from samrot.cli import main
from samrot.errors import InputError
from samrot.runtime.ray_workers import RayWorkers
from tests.conftest import random_photo
from tests.runtime.unlucky_workers import DyingWorker, Number, refuse

ray = pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two processes on this machine, with this checkout."""
    root = str(Path(__file__).parents[2])
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    yield
    ray.shutdown()


def test_a_worker_that_dies_loses_nothing(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    workers = RayWorkers(lambda device, rank: DyingWorker(tmp_path), "cpu", 2)
    workers.run([Number(n) for n in range(8)], records.append)
    workers.close()
    by_id = {record["id"]: record for record in records}
    assert len(records) == len(by_id) == 8
    assert "the worker died, 3 times" in by_id.pop(5)["failed"]
    assert (tmp_path / "died_at_3").exists()
    assert {n: record["square"] for n, record in by_id.items()} == {n: n * n for n in by_id}


def test_what_stops_a_worker_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^no model for cpu$"):
        RayWorkers(refuse, "cpu", 2)
    with pytest.raises(InputError, match="devices is 3, but the Ray cluster has 2 CPUs"):
        RayWorkers(refuse, "cpu", 3)


def test_masks_are_those_of_one_process(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(4):
        Image.fromarray(random_photo(n, 24 + n, 32)).save(photos / f"{n}.png")
    (photos / "bad.jpg").write_bytes(b"no photo")
    for out, options in (("ray", ["--executor", "ray", "--devices", "2"]), ("one", [])):
        command = ["segment", str(photos), "--box", "3", "4", "20", "19", "--out"]
        assert main([*command, str(tmp_path / out), "--segmenter.name", "grabcut", *options]) == 1
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert sum(path.name == "mask_000.png" for path in files) == 4
    for path in files:
        if path.name not in ("config.yaml", ".lock", "environment.json"):
            ours, theirs = (tmp_path / out / path for out in ("ray", "one"))
            assert ours.read_bytes() == theirs.read_bytes(), path
