"""The records of a run: a line of JSON for each photo, or cloud.

Each process appends to a file of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from samrot.files import naming, replacing

Record = dict[str, Any]
_MERGED = "records.jsonl"
_NAMES = re.compile(r"records\.jsonl|records_\d+\.jsonl")  # the latter of process 1 and on
_OLD_NAMES = re.compile(r"photos\.jsonl|photos_\d+\.jsonl")  # what samrot 0.1.0 wrote
_KEYS = {"methods", "seconds"}


class RecordStore:
    """The records in a run folder.

    Args:
        folder: folder of the run.
        item_ids: photos, or whatever is evaluated, whose records count.
        id_key: key of a record that holds its id.
        of_old_version: the run was begun by samrot 0.1.0; its records are read too.
    """

    def __init__(
        self,
        folder: Path,
        item_ids: Collection[int],
        *,
        id_key: str = "image_id",
        of_old_version: bool = False,
    ) -> None:
        self.folder = folder
        self.patterns = (_NAMES, _OLD_NAMES) if of_old_version else (_NAMES,)
        self.item_ids = set(item_ids)
        self.id_key = id_key

    @property
    def is_merged(self) -> bool:
        """Whether the run is over, and its records can be iterated over."""
        return (self.folder / _MERGED).is_file()

    def done(self) -> set[int]:
        """Ids of what has a record."""
        return set(self._places())

    def appender(self, rank: int) -> RecordAppender:
        """Where the process of that rank writes its records."""
        return RecordAppender(self.folder / (_MERGED if rank == 0 else f"records_{rank}.jsonl"))

    def merge(self) -> None:
        """Bring all records into one file, by id, one record each."""
        places = self._places()
        with replacing(self.folder / _MERGED) as partial, partial.open("wb") as merged:
            for item_id in sorted(places):
                path, start = places[item_id]
                with path.open("rb") as file:
                    file.seek(start)
                    merged.write(file.readline())
        for path in self._files():
            if path.name.startswith("records_"):
                path.unlink()

    def __iter__(self) -> Iterator[Record]:
        """The merged records, one at a time."""
        with (self.folder / _MERGED).open() as file:
            for line in file:
                yield json.loads(line)

    def _files(self) -> list[Path]:
        return sorted(
            path
            for path in self.folder.iterdir()
            if any(pattern.fullmatch(path.name) for pattern in self.patterns)
        )

    def _places(self) -> dict[int, tuple[Path, int]]:
        """Id -> file, and where in it the record starts; lines that are torn are none."""
        places: dict[int, tuple[Path, int]] = {}
        for path in self._files():
            start = 0
            with path.open("rb") as file:
                for line in file:
                    record = _whole_record(line, self.id_key)
                    if record is not None and record[self.id_key] in self.item_ids:
                        places.setdefault(record[self.id_key], (path, start))
                    start += len(line)
        return places


def _whole_record(line: bytes, id_key: str) -> Record | None:
    """The record in a line; None where a kill, or a disk that was full, has torn it."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.keys() >= {id_key, *_KEYS} else None


class RecordAppender:
    """One process's file of records.

    Args:
        path: path of the file; what a killed run left of its last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with path.open("r+b") as file:
                    file.truncate(whole)

    def append(self, record: Record) -> None:
        """Add a record."""
        with naming(self.path), self.path.open("a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
