"""The records of a run: a line of JSON for each photo, or cloud.

Each process appends to a file of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from samrot.files import naming, replacing

Record = dict[str, Any]
FAILED = "failed"  # key of a record that says why its item has no result
_OLD_NAMES = re.compile(r"photos\.jsonl|photos_\d+\.jsonl")  # what samrot 0.1.0 wrote


class RecordStore:
    """The records in a run folder.

    Args:
        folder: folder of the run.
        item_ids: photos, or whatever a record is of, whose records count; None for all.
        id_key: key of a record that holds its id.
        name: name of the files, without the suffix.
        of_old_version: the run was begun by samrot 0.1.0; its records are read too.
    """

    def __init__(
        self,
        folder: Path,
        item_ids: Collection[Any] | None,
        *,
        id_key: str = "image_id",
        name: str = "records",
        of_old_version: bool = False,
    ) -> None:
        self.folder = folder
        self.name = name
        own = re.compile(rf"{name}\.jsonl|{name}_\d+\.jsonl")  # the latter of process 1 and on
        self.patterns = (own, _OLD_NAMES) if of_old_version else (own,)
        self.item_ids = None if item_ids is None else set(item_ids)
        self.id_key = id_key

    @property
    def is_merged(self) -> bool:
        """Whether the run is over, and its records can be iterated over."""
        return (self.folder / f"{self.name}.jsonl").is_file()

    def done(self) -> set[Any]:
        """Ids of what has a record that is no failure."""
        return {item_id for item_id, (_, _, failed) in self._places().items() if not failed}

    def appender(self, rank: int) -> RecordAppender:
        """Where the process of that rank writes its records."""
        number = "" if rank == 0 else f"_{rank}"
        return RecordAppender(self.folder / f"{self.name}{number}.jsonl")

    def merge(self) -> None:
        """Bring all records into one file, by id, one record each."""
        merged = self.folder / f"{self.name}.jsonl"
        with replacing(merged) as partial, partial.open("wb") as file:
            for line in self._lines():
                file.write(line)
        for path in self._files():
            if path.name.startswith(f"{self.name}_"):
                path.unlink()

    def unmerged(self) -> Iterator[Record]:
        """The records of all files, by id, one record each."""
        return map(json.loads, self._lines())

    def __iter__(self) -> Iterator[Record]:
        """The merged records, one at a time."""
        with (self.folder / f"{self.name}.jsonl").open() as file:
            for line in file:
                yield json.loads(line)

    def _files(self) -> list[Path]:
        return sorted(
            path
            for path in self.folder.iterdir()
            if any(pattern.fullmatch(path.name) for pattern in self.patterns)
        )

    def _lines(self) -> Iterator[bytes]:
        places = self._places()
        for item_id in sorted(places):
            path, start, _ = places[item_id]
            with path.open("rb") as file:
                file.seek(start)
                yield file.readline()

    def _places(self) -> dict[Any, tuple[Path, int, bool]]:
        """Id -> file, where in it the record starts, and whether it is a failure.

        Lines that are torn are none. Of several of one item the first counts that is no failure.
        """
        places: dict[Any, tuple[Path, int, bool]] = {}
        for path in self._files():
            start = 0
            with path.open("rb") as file:
                for line in file:
                    record = _whole_record(line, self.id_key)
                    if record is not None:
                        item_id, failed = record[self.id_key], FAILED in record
                        counts = self.item_ids is None or item_id in self.item_ids
                        if counts and (item_id not in places or places[item_id][2]):
                            places[item_id] = (path, start, failed)
                    start += len(line)
        return places


def _whole_record(line: bytes, id_key: str) -> Record | None:
    """The record in a line; None where a kill, or a disk that was full, has torn it."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and id_key in record else None


class RecordAppender:
    """One process's file of records.

    Args:
        path: path of the file; what a killed run left of its last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            with path.open("r+b") as file:
                file.truncate(_whole_length(path))

    def append(self, record: Record, *, durable: bool = False) -> None:
        """Add a record.

        Args:
            record: what JSON can hold.
            durable: wait until it is on the disk, and outlives a loss of power.
        """
        with naming(self.path), self.path.open("a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    length = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                length += len(line)
    return length
