"""Records of several processes, interrupted ones and those of 0.1.0 become one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samrot.runtime.records import RecordStore


def line(image_id: int, value: int = 0) -> str:
    return json.dumps(record(image_id, value)) + "\n"


def record(image_id: int, value: int = 0) -> dict[str, Any]:
    return {"image_id": image_id, "methods": {}, "seconds": {}, "value": value}


def test_records_are_merged_in_order_and_each_photo_once(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(line(5) + line(1) + '{"image_id": 7, "va')
    (tmp_path / "records_1.jsonl").write_text(line(2) + line(5, value=9))
    (tmp_path / "photos.jsonl").write_text(line(4))
    (tmp_path / "records_old.jsonl").write_text(line(3))  # nobody's
    assert RecordStore(tmp_path, range(9)).done() == {1, 2, 5}
    store = RecordStore(tmp_path, [1, 2, 3, 4, 5, 7], of_old_version=True)
    assert store.done() == {1, 2, 4, 5}
    store.merge()
    assert list(store) == [record(1), record(2), record(4), record(5)]
    assert not (tmp_path / "records_1.jsonl").exists()
    assert (tmp_path / "records_old.jsonl").read_text() == line(3)


def test_photos_that_were_not_asked_for_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(line(5) + line(1))
    store = RecordStore(tmp_path, [1])
    store.merge()
    assert [kept["image_id"] for kept in store] == [1]


def test_each_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, [1, 2])
    (tmp_path / "records_1.jsonl").write_text(line(2)[:9])
    store.appender(0).append({"image_id": 1})
    store.appender(1).append({"image_id": 2})
    assert (tmp_path / "records.jsonl").read_text() == '{"image_id": 1}\n'
    assert (tmp_path / "records_1.jsonl").read_text() == '{"image_id": 2}\n'
